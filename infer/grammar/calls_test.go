package grammar

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// Random outputs of a grammar of calls are calls whose arguments are valid.
func TestFromCalls(t *testing.T) {
	frame := Frame{"<c>{\"name\": \"", "\", \"arguments\": ", "}</c>", "\n"}
	g, err := FromCalls(frame, []Call{
		{"weather", []byte(`{"type":"object","properties":{"city":{"type":"string","enum":["Rome","Bonn"]},"days":{"$ref":"#/$defs/n"}},"required":["city"],"$defs":{"n":{"type":"integer","minimum":1,"maximum":3}}}`)},
		{"now", []byte(`{"type":"object","properties":{}}`)},
	}, 2)
	c := mustBind(t, g, err, newTestVocab(nil))
	shape := regexp.MustCompile(`^<c>(.*)</c>(?:\n<c>(.*)</c>)?$`)
	for _, tt := range []struct {
		text string
		ok   bool
	}{
		{`<c>{"name": "now", "arguments": {}}</c>`, true},
		{`<c>{"name": "weather", "arguments": {"city":"Rome","days":3}}</c>` + "\n" + `<c>{"name": "now", "arguments": {}}</c>`, true},
		{`<c>{"name": "weather", "arguments": {"city":"Paris"}}</c>`, false},
		{`<c>{"name": "weather", "arguments": {"city":"Rome","days":4}}</c>`, false},
		{`<c>{"name": "weather", "arguments": {}}</c>`, false},
		{strings.Repeat(`<c>{"name": "now", "arguments": {}}</c>`+"\n", 3), false},
		{``, false},
		{`hello`, false},
	} {
		if got := matches(t, c, tt.text); got != tt.ok {
			t.Errorf("%s: got %v", tt.text, got)
		}
		if tt.ok {
			for _, part := range shape.FindStringSubmatch(strings.ReplaceAll(tt.text, "\r", ""))[1:] {
				if part != "" && !json.Valid([]byte(part)) {
					t.Errorf("%s is no JSON", part)
				}
			}
		}
	}
}

func TestFromCallsRefuses(t *testing.T) {
	for schema, want := range map[string]string{
		`{"type":"object","if":{}}`: "the parameters of f: ",
		`{"type":`:                  "the parameters of f: ",
		`{"not":{}}`:                "the keyword not is not supported",
	} {
		if _, err := FromCalls(Frame{}, []Call{{"f", []byte(schema)}}, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", schema, err)
		}
	}
}
