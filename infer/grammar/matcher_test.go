package grammar

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"net/mail"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Where a decoder drops the space before a text, tokens that begin with one stand for
// what follows it.
func TestDroppedSpace(t *testing.T) {
	list := tokenList{" ", "a", "b", " a", " b", "  a", "  ", "<eos>"}
	v := NewVocabulary(list, len(list))
	for src, want := range map[string]string{
		`root ::= "a"`:                           "[a][ a]",
		`root ::= [ab]`:                          "[a][b][ a][ b]",
		`root ::= " "* "a"`:                      "[a][ a][  a][  ]",
		`root ::= " a"`:                          "[  a][  ]",
		`root ::= "a" | " " b` + "\nb ::= \"b\"": "[a][ a][  ]",
	} {
		g, err := ParseGBNF(src)
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(g, v)
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.Matcher(true)
		if err != nil {
			t.Fatal(err)
		}
		mask, err := m.Mask()
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for id, s := range list {
			if mask[0]>>id&1 == 1 {
				got.WriteString("[" + s + "]")
			}
		}
		if got.String() != want {
			t.Errorf("%s: first tokens %s, want %s", src, got.String(), want)
		}
	}
	// A vocabulary without longer runs of spaces has to spend the one that is lost.
	short := tokenList{" ", "a", "<eos>"}
	g, err := ParseGBNF(`root ::= " a"`)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(g, NewVocabulary(short, len(short)))
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Matcher(true)
	if err != nil {
		t.Fatal(err)
	}
	if m.Fits(2) || !m.Fits(3) {
		t.Errorf("the shortest output takes the lost space and two tokens: fits 2: %t, fits 3: %t", m.Fits(2), m.Fits(3))
	}
	for _, want := range []int32{0, 0, 1} {
		mask, err := m.Mask()
		if err != nil || mask[0] != 1<<want {
			t.Fatalf("mask %b: %v, want token %d alone", mask[0], err, want)
		}
		if _, err := m.Accept(want, 3); err != nil {
			t.Fatal(err)
		}
	}
	if !m.Finished() {
		t.Error("the output is not finished")
	}
}

// The model is free as long as a completion fits, and not a token longer.
func TestCompletionIsForcedLate(t *testing.T) {
	g, err := ParseGBNF(`root ::= "[" [x]* "]" "!"`)
	c := mustBind(t, g, err, plainVocab)
	text, err := generate(c, plainVocab, 10, func(_ []uint64, allowed []int32) int32 {
		if allowed[0] == '!' || allowed[0] == '[' {
			return allowed[0]
		}
		return 'x'
	})
	if err != nil || text != "[xxxxxxx]!" {
		t.Errorf("%q: %v", text, err)
	}
	// Complete, but the sampled token begins more: the generation ends.
	if g, err = ParseGBNF(`root ::= ("a" "b")+`); err != nil {
		t.Fatal(err)
	}
	c = mustBind(t, g, err, plainVocab)
	text, err = generate(c, plainVocab, 5, func(_ []uint64, allowed []int32) int32 { return allowed[0] })
	if err != nil || text != "abab" {
		t.Errorf("%q: %v", text, err)
	}
	m, err := c.Matcher(false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Accept('a', 0); !errors.Is(err, ErrTokens) {
		t.Errorf("one token for two bytes: %v", err)
	}
	if _, err := m.Accept('b', 9); err == nil {
		t.Error("a token that the grammar does not allow was accepted")
	}
	if _, err := m.Accept(int32(len(plainVocab.list)-1), 9); err == nil {
		t.Error("the end was accepted where the output is not complete")
	}
}

// Of several places to return to, the completion takes the nearest to the end.
func TestShortestCompletion(t *testing.T) {
	for _, src := range []string{"root ::= a \"bbb\" | a \"c\"\na ::= \"xx\"", "root ::= a \"c\" | a \"bbb\"\na ::= \"xx\""} {
		g, err := ParseGBNF(src)
		c := mustBind(t, g, err, plainVocab)
		m, err := c.Matcher(false)
		if err != nil {
			t.Fatal(err)
		}
		if n := m.ShortestBytes(); n != 3 || m.Fits(2) || !m.Fits(3) {
			t.Errorf("%q: %d bytes, fits 2: %t, fits 3: %t", src, n, m.Fits(2), m.Fits(3))
		}
	}
}

// What a format generates is read by a parser of that format.
func TestFormats(t *testing.T) {
	timeOf := func(layout string) func(string) error {
		return func(s string) error {
			_, err := time.Parse(layout, s)
			return err
		}
	}
	duration := regexp.MustCompile(`^P(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(\d+H)?(\d+M)?(\d+S)?)?)$`)
	match := func(re *regexp.Regexp) func(string) error {
		return func(s string) error {
			if !re.MatchString(s) || strings.HasSuffix(s, "T") || s == "P" {
				return errors.New("no match")
			}
			return nil
		}
	}
	address := func(length int) func(string) error {
		return func(s string) error {
			if ip := net.ParseIP(s); ip == nil || (ip.To4() != nil && !strings.Contains(s, ":")) != (length == 4) {
				return errors.New("no address")
			}
			return nil
		}
	}
	parsers := map[string]func(string) error{
		"date": timeOf("2006-01-02"), "time": timeOf("15:04:05Z07:00"), "date-time": timeOf(time.RFC3339),
		"duration": match(duration), "ipv4": address(4), "ipv6": address(6),
		"email":    func(s string) error { _, err := mail.ParseAddress(s); return err },
		"hostname": match(regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)),
		"uuid":     match(regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)),
	}
	if len(parsers) != len(formats) {
		t.Errorf("%d parsers for %d formats", len(parsers), len(formats))
	}
	for name, parse := range parsers {
		g, err := FromSchema([]byte(`{"type":"string","format":"` + name + `"}`))
		c := mustBind(t, g, err, mixedVocab)
		for seed := range uint64(200) {
			text, err := generate(c, mixedVocab, 100, chance(rand.New(rand.NewPCG(seed, 5))))
			if err != nil {
				t.Fatal(err)
			}
			var s string
			if err := json.Unmarshal([]byte(text), &s); err != nil {
				t.Fatal(err)
			}
			if err := parse(s); err != nil {
				t.Errorf("%s: %s: %v", name, text, err)
			}
		}
	}
}

// One constraint serves many sequences, and what one finds out serves the others.
func TestConstraintIsShared(t *testing.T) {
	c := mustBind(t, JSONObject(), nil, mixedVocab)
	var all sync.WaitGroup
	for seed := range uint64(8) {
		all.Go(func() {
			for round := range uint64(5) {
				text, err := generate(c, mixedVocab, 80, chance(rand.New(rand.NewPCG(seed, round))))
				if err != nil || !json.Valid([]byte(text)) {
					t.Errorf("%s: %v", text, err)
				}
			}
		})
	}
	all.Wait()
}

// Outputs that go on beyond the cache's limit are as right as those before it.
func TestCacheIsBounded(t *testing.T) {
	g, err := ParseGBNF("root ::= \"[\" root \"]\" | \"\"")
	c := mustBind(t, g, err, plainVocab)
	m, err := c.Matcher(false)
	if err != nil {
		t.Fatal(err)
	}
	largest, generation := 0, c.cache.generation
	const depth = 200_000
	for n := range 2 * depth {
		if _, err := m.Mask(); err != nil {
			t.Fatal(err)
		}
		b := int32('[')
		if n >= depth {
			b = ']'
		}
		if _, err := m.Accept(b, 1<<20); err != nil {
			t.Fatal(err)
		}
		largest = max(largest, c.cache.size)
	}
	if !m.Finished() {
		t.Error("the output is not finished")
	}
	if c.cache.generation == generation || largest > maxCacheLen+maxCacheLen/8 {
		t.Errorf("%d resets, at most %d bytes cached, the limit is %d", c.cache.generation-generation, largest, maxCacheLen)
	}
}
