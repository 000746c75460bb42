package grammar

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
)

// suiteDir finds the JSON Schema Test Suite in the module that validates here.
func suiteDir(t *testing.T, draft string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/jsonschema-go").Output()
	if err != nil {
		t.Fatalf("find the test suite: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "jsonschema", "testdata", draft)
}

// suiteCase is one schema of the suite with instances.
type suiteCase struct {
	Description string
	Schema      json.RawMessage
	Tests       []struct {
		Description string
		Data        json.RawMessage
		Valid       bool
	}
}

// Every schema of the suite is refused by name or compiled. What is compiled
// must not accept an instance that the suite calls invalid, and what is generated
// must be valid for an independent validator.
func TestSuite(t *testing.T) {
	for _, draft := range []string{"draft7", "draft2020-12"} {
		files, err := filepath.Glob(filepath.Join(suiteDir(t, draft), "*.json"))
		if err != nil || len(files) < 30 {
			t.Fatalf("%d files of %s: %v", len(files), draft, err)
		}
		compiled, refused, accepted, valid := 0, 0, 0, 0
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var cases []suiteCase
			if err := json.Unmarshal(data, &cases); err != nil {
				t.Fatal(err)
			}
			for _, sc := range cases {
				name := draft + "/" + filepath.Base(file) + "/" + sc.Description
				g, err := FromSchema(sc.Schema)
				var no *SchemaError
				if errors.As(err, &no) {
					refused++
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				compiled++
				a, v := checkCase(t, name, g, sc)
				accepted, valid = accepted+a, valid+v
			}
		}
		t.Logf("%s: %d schemas compiled, %d refused; %d of %d valid instances of the compiled ones are outputs", draft, compiled, refused, accepted, valid)
		if compiled < 100 {
			t.Errorf("%s: only %d schemas compiled", draft, compiled)
		}
	}
}

func checkCase(t *testing.T, name string, g *Grammar, sc suiteCase) (accepted, valid int) {
	t.Helper()
	c := mustBind(t, g, nil, mixedVocab)
	for _, test := range sc.Tests {
		v, err := parseValue(test.Data)
		if err != nil {
			continue // a number or nesting beyond what a schema may hold
		}
		ok := matches(t, c, string(v.json(nil)))
		if ok && !test.Valid {
			t.Errorf("%s: %s is accepted: %s", name, test.Data, test.Description)
		}
		if test.Valid {
			valid++
			if ok {
				accepted++
			}
		}
	}
	check, err := newValidator(sc.Schema)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for seed := range uint64(10) {
		text, err := generate(c, mixedVocab, 300, chance(rand.New(rand.NewPCG(seed, 1))))
		if errors.Is(err, ErrTokens) {
			continue // its shortest output is longer
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if err := check(text); err != nil {
			t.Errorf("%s: generated %s: %v", name, text, err)
		}
	}
	return accepted, valid
}

// newValidator returns a check of texts by another implementation.
func newValidator(schema []byte) (func(text string) error, error) {
	s := new(jsonschema.Schema)
	if err := json.Unmarshal(schema, s); err != nil {
		return nil, err
	}
	r, err := s.Resolve(nil)
	if err != nil {
		return nil, err
	}
	return func(text string) error {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			return err
		}
		return r.Validate(v)
	}, nil
}
