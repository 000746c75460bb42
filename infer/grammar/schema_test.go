package grammar

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSchema(t *testing.T) {
	for _, tc := range []struct {
		name, schema string
		yes, no      []string
	}{
		{"types", `{"type":["integer","null","boolean"]}`, []string{`0`, `-12`, `null`, `true`, `false`}, []string{`1.5`, `"x"`, `01`, `-`, `[]`, ` 1`}},
		{"number", `{"type":"number"}`, []string{`0`, `-1.50`, `1e9`, `2.5E-10`}, []string{`.5`, `1.`, `1e`, `+1`, `1e999`}},
		{"anything", `true`, []string{`{"a":[1, {}]}`, `"x"`, "[\n  1,\n  2\n]"}, []string{``, `{`, `nul`}},
		{"string", `{"type":"string"}`, []string{`""`, `"é日😀"`, `"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"`}, []string{`"`, "\"\n\"", `"\ud800"`, `"\udc00"`, `"\x"`, `"""`}},
		{"lengths", `{"type":"string","minLength":2,"maxLength":3}`, []string{`"ab"`, `"日本語"`, `"\ud83d\ude00\n"`}, []string{`"a"`, `"abcd"`, `""`}},
		{"members", `{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["b"]}`,
			[]string{`{"a":1,"b":"x"}`, `{"b":"x"}`, `{ "a": 1, "b": "" }`, "{\n  \"a\": 1,\n  \"b\": \"\"\n}"}, []string{`{}`, `{"a":1}`, `{"b":"x","a":1}`, `{"a":1,}`, `{"b":"x","c":1}`, `{"a":1 "b":"x"}`}},
		{"optional members", `{"properties":{"a":true,"b":true,"c":true}}`,
			[]string{`{}`, `{"a":1}`, `{"b":1}`, `{"c":1}`, `{"a":1,"c":1}`, `{"b":1,"c":1}`, `{"a":1,"b":[],"c":{}}`}, []string{`{,"a":1}`, `{"a":1,"a":1}`, `{"c":1,"a":1}`}},
		{"further members", `{"type":"object","properties":{"ab":{"type":"null"}},"additionalProperties":{"type":"integer"}}`,
			[]string{`{}`, `{"ab":null}`, `{"ab":null,"c":1}`, `{"a":1,"abc":2}`, `{"":1}`, `{"日":1}`}, []string{`{"ab":1}`, `{"c":null}`, `{"a\u0062":1}`, `{"ab":null,"ab":1}`}},
		{"no further members", `{"type":"object","additionalProperties":false}`, []string{`{}`}, []string{`{"a":1}`}},
		{"required, not declared", `{"type":"object","required":["x"],"additionalProperties":{"type":"integer"}}`, []string{`{"x":1}`, `{"x":1,"y":2}`}, []string{`{}`, `{"x":"a"}`, `{"y":1}`}},
		{"most members", `{"type":"object","maxProperties":2}`, []string{`{}`, `{"a":1,"b":2}`}, []string{`{"a":1,"b":2,"c":3}`}},
		{"keys with escapes", `{"properties":{"a\"b\\\n\u0001":{"type":"null"}}}`, []string{`{"a\"b\\\n\u0001":null}`}, []string{`{"a":null}`}},
		{"items", `{"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3}`, []string{`[1]`, `[1,2, 3]`, "[ 1 ]"}, []string{`[]`, `[1,2,3,4]`, `["a"]`, `[1,]`}},
		{"tuple", `{"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"minItems":1}`, []string{`[1]`, `[1,"a"]`}, []string{`[]`, `["a"]`, `[1,"a",2]`}},
		{"tuple and items", `{"prefixItems":[{"type":"integer"}],"items":{"type":"null"},"minItems":3,"maxItems":4}`, []string{`[1,null,null]`, `[1,null,null,null]`}, []string{`[1,null]`, `[1,null,null,null,null]`}},
		{"no items", `{"type":"array","maxItems":0}`, []string{`[]`}, []string{`[1]`}},
		{"false items", `{"type":"array","items":false}`, []string{`[]`}, []string{`[1]`}},
		{"enum", `{"enum":["a","ab",1,null,{"x":[1,2]}]}`, []string{`"a"`, `"ab"`, `1`, `null`, `{"x":[1,2]}`}, []string{`"b"`, `2`}},
		{"typed enum", `{"type":"integer","enum":["a",1,2.5,3.0]}`, []string{`1`, `3.0`}, []string{`"a"`, `2.5`}},
		{"const", `{"const":"x"}`, []string{`"x"`}, []string{`"y"`}},
		{"any of", `{"anyOf":[{"type":"integer"},{"type":"string","maxLength":1}]}`, []string{`1`, `"a"`}, []string{`"ab"`, `null`}},
		{"one of", `{"oneOf":[{"type":"integer"},{"type":"null"}]}`, []string{`1`, `null`}, []string{`"ab"`}},
		{"told apart by a member", `{"oneOf":[{"type":"object","properties":{"k":{"const":"a"}},"required":["k"]},{"$ref":"#/$defs/b"}],"$defs":{"b":{"type":"object","properties":{"k":{"enum":["b"]},"n":{"type":"integer"}},"required":["k","n"]}}}`,
			[]string{`{"k":"a"}`, `{"k":"b","n":1}`}, []string{`{"k":"b"}`}},
		{"all of one", `{"allOf":[{"$ref":"#/definitions/x"}],"definitions":{"x":{"type":"null"}}}`, []string{`null`}, []string{`1`}},
		{"recursion", `{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}},"required":["v","next"]}}}`,
			[]string{`{"v":1,"next":null}`, `{"v":1,"next":{"v":2,"next":null}}`}, []string{`{"v":1}`, `{"v":1,"next":1}`}},
		{"reference to the root", `{"type":"array","items":{"$ref":"#"}}`, []string{`[]`, `[[],[[]]]`}, []string{`[1]`}},
		{"escaped reference", `{"$ref":"#/$defs/a~1b%25","$defs":{"a/b%":{"type":"null"}}}`, []string{`null`}, []string{`1`}},
		{"integer range", `{"type":"integer","minimum":-12,"exclusiveMaximum":105}`, []string{`-12`, `-9`, `0`, `9`, `10`, `99`, `104`}, []string{`-13`, `105`, `200`, `1000`, `-0`, `-20`}},
		{"half-open range", `{"type":"integer","minimum":7}`, []string{`7`, `10`, `9999999999999999`}, []string{`6`, `-7`, `0`, `99999999999999999`}},
		{"negative range", `{"type":"integer","maximum":-5}`, []string{`-5`, `-10`, `-123456`}, []string{`-4`, `0`, `5`}},
		{"number range", `{"type":"number","minimum":-0.25,"maximum":1.5}`, []string{`0`, `1`, `1.5`, `1.50`, `1.49999`, `-0.25`, `-0.1`, `0.0`, `-0.2499`}, []string{`1.51`, `2`, `-0.26`, `-1`, `-0.3`, `1e9`}},
		{"open number range", `{"type":"number","exclusiveMinimum":0,"exclusiveMaximum":1}`, []string{`0.1`, `0.001`, `0.999`}, []string{`0`, `0.0`, `1`, `1.0`, `-0.5`}},
		{"range of exponents", `{"type":"number","minimum":1e2,"maximum":1.5e2}`, []string{`100`, `150.0`, `149.9`}, []string{`99.9`, `150.1`}},
		{"pattern", `{"type":"string","pattern":"^[a-c]{2,3}$"}`, []string{`"ab"`, `"abc"`}, []string{`"a"`, `"abcd"`, `"xab"`}},
		{"searched pattern", `{"pattern":"b|^\"$"}`, []string{`"b"`, `"abc"`, `"\""`, `"b\n"`}, []string{`"a"`, `""`}},
		{"pattern with spaces", `{"pattern":"^\\S+\\s\\d\\w$"}`, []string{`"ab 1c"`, `"é\t1_"`}, []string{`"a b"`, `" 1c"`, "\"a\u00a01c\"", "\"\u00a0 1c\""}},
		{"pattern of anything", `{"pattern":"^[\\s\\S]{2}[^\\s\\S]?$"}`, []string{`"ab"`, `" \n"`, `"\r\n"`, "\"\u00a0\u3000\"", `"\u000b]"`}, []string{`"a"`, `"abc"`}},
		{"pattern of no spaces", `{"pattern":"^[\\S ][^\\Sa][\\s-x]$"}`, []string{`"a  "`, `" \t-"`, "\"é\\nx\""}, []string{`"\n  "`, `"aa "`, "\"\u00a0  \"", "\"a\u00a0 \"", `"a a"`}},
		{"pattern in parts", `{"pattern":"(^a|b$)"}`, []string{`"ax"`, `"xb"`}, []string{`"xa"`, `"bx"`}},
		{"date", `{"type":"string","format":"date"}`, []string{`"2024-02-28"`, `"1999-12-31"`}, []string{`"2024-02-30"`, `"2024-13-01"`, `"x"`}},
		{"multiple of one", `{"type":"integer","multipleOf":1}`, []string{`3`}, []string{`3.5`}},
		{"annotations", `{"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"x","title":"t","description":"d","default":1,"x-more":[],"type":"null"}`, []string{`null`}, []string{`1`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g, err := FromSchema([]byte(tc.schema))
			c := mustBind(t, g, err, plainVocab)
			for _, text := range tc.yes {
				if !matches(t, c, text) {
					t.Errorf("%s is refused", text)
				}
			}
			for _, text := range tc.no {
				if matches(t, c, text) {
					t.Errorf("%s is accepted", text)
				}
			}
		})
	}
}

func TestSchemaErrors(t *testing.T) {
	for schema, want := range map[string]string{
		`{`:                                   "the schema: read JSON: unexpected EOF",
		`{} x`:                                "something follows the schema",
		`{"a":1,"a":1}`:                       "/a: stands twice in one object",
		`5`:                                   "the schema: a schema must be an object or a boolean, not number",
		`{"type":"x"}`:                        `/type: "x" is no type`,
		`{"properties":{"a/b":{"not":{}}}}`:   "/properties/a~1b/not: the keyword not is not supported",
		`{"items":{"nullable":true}}`:         "/items/nullable: the keyword nullable is not supported",
		`{"type":"array","uniqueItems":true}`: "/uniqueItems: uniqueItems is not supported, only false is accepted",
		`{"type":"integer","multipleOf":2}`:   "/multipleOf: the keyword multipleOf is not supported",
		`{"$ref":"#/x"}`:                      "/$ref: #/x points to nothing in this schema",
		`{"$ref":"http://a/b"}`:               `/$ref: only references into the schema itself (#/...) are supported, not "http://a/b"`,
		`{"$ref":"#"}`:                        "the schema: left recursion: # begins with itself (# -> #)",
		`{"$ref":"#/$defs/a","$defs":{"a":{}},"type":"null"}`:  "/type: type is not supported beside $ref",
		`{"enum":[1],"minimum":3}`:                             "/minimum: minimum is not supported beside enum",
		`{"oneOf":[{"type":"integer"},{"type":"number"}]}`:     "/oneOf/1: oneOf is supported where types, enums or required members with different enums tell its schemas apart; this one may overlap with schema 0: use anyOf",
		`{"allOf":[{},{}]}`:                                    "/allOf: allOf is supported with one schema, not 2",
		`{"type":"object","minProperties":1}`:                  "/minProperties: minProperties is supported up to the number of required members: it is 1, and 0 are required",
		`{"type":"string","maxLength":-1}`:                     "/maxLength: must be a whole number from 0, not -1",
		`{"type":"string","maxLength":1e6}`:                    "/maxLength: 1e6 exceeds the limit of 65536",
		`{"type":"string","maxLength":1e999999999}`:            "/maxLength: must be a whole number from 0, not 1e999999999",
		`{"type":"string","format":"iri"}`:                     `/format: the format "iri" is not supported`,
		`{"pattern":"a","maxLength":3}`:                        "the schema: minLength and maxLength are not supported beside pattern and format: put the lengths into the pattern",
		`{"pattern":"(?=a)"}`:                                  "/pattern: the group (?=a is not supported",
		`{"pattern":"\\bx"}`:                                   `/pattern: the escape \b is not supported`,
		`{"pattern":"a^b"}`:                                    "/pattern: ^ and $ are supported at the ends of the pattern or of its outermost alternatives only",
		`{"pattern":"\\d{1001}"}`:                              "/pattern: pattern \"\\\\d{1001}\": the repetition {1001}, multiplied by those inside of it, exceeds the limit of 1000",
		`{"pattern":"(?:a{40}){2,40}"}`:                        "/pattern: pattern \"(?:a{40}){2,40}\": the repetition {2,40}, multiplied by those inside of it, exceeds the limit of 1000",
		`{"pattern":"a{3,2}"}`:                                 "/pattern: pattern \"a{3,2}\": the repetition {3,2} has its bounds in the wrong order",
		`{"pattern":"("}`:                                      "/pattern: pattern \"(\": error parsing regexp: missing closing ): `(`",
		`{"enum":[]}`:                                          "the schema: no finite value is valid",
		`false`:                                                "the schema: no finite value is valid",
		`{"type":"array","items":{"$ref":"#"},"minItems":1}`:   "the schema: no finite value is valid",
		`{"type":"number","minimum":3.14159265358979}`:         "the schema: a bound has more than 14 digits",
		`{"type":"integer","minimum":1e16}`:                    "the schema: minimum lies beyond numbers of 16 digits, which are the longest that are generated",
		`{"type":"array","prefixItems":[{"maxLength":99999}]}`: "/prefixItems/0/maxLength: 99999 exceeds the limit of 65536",
	} {
		_, err := FromSchema([]byte(schema))
		if err == nil {
			t.Errorf("%s: no error, want %q", schema, want)
		} else if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Errorf("%s: %s", schema, diff)
		}
	}
	var deep []byte
	for range MaxNesting + 1 {
		deep = append(deep, `{"items":`...)
	}
	var limit *LimitError
	if _, err := FromSchema(deep); !errors.As(err, &limit) || limit.Limit != MaxNesting {
		t.Errorf("%d levels: %v", MaxNesting+1, err)
	}
}
