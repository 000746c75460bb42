package ipc_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"edged/ipc"
)

func TestCheckJSON(t *testing.T) {
	deep := strings.Repeat("[", ipc.MaxJSONDepth) + strings.Repeat("]", ipc.MaxJSONDepth)
	for _, good := range []string{
		`{}`, `[]`, `null`, ` {"a" : [1, -2.5e3, true, "x\n\\\"" , {"a":{}}]} `, deep,
		`{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}`,
		`"\ud83d\ude00"`, `"\u00e9"`, `"\\ud800"`, `{"[[":"{{"}`, `{"a":"a","b":"a"}`,
	} {
		if err := ipc.CheckJSON([]byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, tt := range []struct{ body, want string }{
		{"{\"a\":\"\xc3\"}", "not valid UTF-8 at byte 6"},
		{"\"\xed\xa0\x80\"", "not valid UTF-8 at byte 1"}, // a surrogate as three bytes
		{"[" + deep + "]", "deeper than 64 levels at byte 64"},
		{`{"a":1,"a":2}`, `key "a" twice in one object, again at byte 7`},
		{`[{"a":{"b":1,"c":2,"b":3}}]`, `key "b" twice in one object, again at byte 19`},
		{`{"é":1,"\u00e9":2}`, `key "é" twice in one object, again at byte 8`},
		{`"\ud83d"`, `half of a surrogate pair at byte 1: \ud83d`},
		{`"a\ude00"`, `half of a surrogate pair at byte 2: \ude00`},
		{`"\ud83d\ud83d"`, `half of a surrogate pair at byte 1: \ud83d`},
		{`"\ud83dx\ude00"`, `half of a surrogate pair at byte 1: \ud83d`},
		{`{"\ud83d":1}`, `half of a surrogate pair at byte 2: \ud83d`},
		{`{"a":1,}`, `not valid JSON at byte 7: invalid character '}' looking for beginning of object key string`},
		{`{"a":01}`, `not valid JSON at byte 6: invalid character '1' after object key:value pair`},
		{`{"a":NaN}`, `not valid JSON at byte 5: invalid character 'N' looking for beginning of value`},
		{`{} {}`, `not valid JSON at byte 3: invalid character '{' after top-level value`},
		{`{"a":"` + "\x01" + `"}`, `not valid JSON at byte 6: invalid character '\x01' in string literal`},
		{`{"a":"`, `not valid JSON at byte 5: unexpected end of JSON input`},
		{"\ufeff{}", `not valid JSON at byte 0: invalid character '` + "ï" + `' looking for beginning of value`},
		{` `, `not valid JSON at byte 0: unexpected end of JSON input`},
	} {
		err := ipc.CheckJSON([]byte(tt.body))
		if err == nil || !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %q", tt.body, err, tt.want)
		}
	}
}

// TestCheckJSONAgrees compares with encoding/json: what Go itself has encoded
// passes, with whitespace as well, and what is cut off does not.
func TestCheckJSONAgrees(t *testing.T) {
	value := rapid.Custom(drawJSON)
	rapid.Check(t, func(t *rapid.T) {
		v := value.Draw(t, "value")
		body, err := json.MarshalIndent(v, "", rapid.SampledFrom([]string{"", " ", "\t"}).Draw(t, "indent"))
		if err != nil {
			t.Fatal(err)
		}
		if err := ipc.CheckJSON(body); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		cut := rapid.IntRange(0, len(body)-1).Draw(t, "cut")
		if got, want := ipc.CheckJSON(body[:cut]) == nil, json.Valid(body[:cut]); got && !want {
			t.Fatalf("%s passes", body[:cut])
		}
	})
}

func drawJSON(t *rapid.T) any {
	switch rapid.IntRange(0, 7).Draw(t, "kind") {
	case 0:
		return rapid.SliceOfN(rapid.Custom(drawJSON), 0, 3).Draw(t, "array")
	case 1:
		return rapid.MapOfN(rapid.String(), rapid.Custom(drawJSON), 0, 3).Draw(t, "object")
	case 2:
		return rapid.Float64Range(-1e9, 1e9).Draw(t, "number")
	case 3:
		return rapid.Bool().Draw(t, "bool")
	case 4:
		return nil
	default:
		return rapid.String().Draw(t, "string")
	}
}
