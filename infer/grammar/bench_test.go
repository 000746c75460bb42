package grammar

import (
	"math/bits"
	"math/rand/v2"
	"testing"
	"time"
)

// largeVocab is as large as those of current models and has the shape that
// matters: tokens of 1 to 16 bytes that share beginnings, a third of them with
// a space in front, some that end a string and go on.
func largeVocab() testVocab {
	const size = 128_000
	r := rand.New(rand.NewPCG(1, 2))
	list := byteTokens()
	seen := map[string]bool{}
	letters := []byte("etaoinshrdlucmfwypvbgkjqxz")
	ends := []string{`"`, `",`, `":`, `"}`, `"]`, "}\n", ",", "\n"}
	for len(list) < size-1 {
		var b []byte
		if r.IntN(3) == 0 {
			b = append(b, ' ')
		}
		for range 1 + min(r.IntN(8), r.IntN(16)) {
			b = append(b, letters[min(r.IntN(26), r.IntN(26))])
		}
		switch r.IntN(20) {
		case 0:
			b = append(b, ends[r.IntN(len(ends))]...)
		case 1:
			b = append(b, "éß日本語"[r.IntN(12):]...)
		}
		if s := string(b); !seen[s] {
			seen[s] = true
			list = append(list, s)
		}
	}
	list = append(list, "<eos>")
	return testVocab{NewVocabulary(list, len(list)), list}
}

const benchSchema = `{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
"tags":{"type":"array","items":{"type":"string"}},"address":{"$ref":"#/$defs/a"},"kind":{"enum":["person","company","other"]}},
"required":["name","age","tags","address","kind"],"$defs":{"a":{"type":"object","properties":{"street":{"type":"string"},"parent":{"anyOf":[{"$ref":"#/$defs/a"},{"type":"null"}]}},"required":["street","parent"]}}}`

// BenchmarkMask measures a mask in use: all tokens of random outputs, the first
// use of every state included.
func BenchmarkMask(b *testing.B) {
	v := largeVocab()
	grammars := map[string]func() (*Grammar, error){
		"object": func() (*Grammar, error) { return JSONObject(), nil },
		"schema": func() (*Grammar, error) { return FromSchema([]byte(benchSchema)) },
		"gbnf": func() (*Grammar, error) {
			return ParseGBNF("root ::= line+\nline ::= \"- \" [^\\n]{1,80} \"\\n\" | expr \"\\n\"\nexpr ::= t | t \"+\" expr\nt ::= [0-9]+ | \"(\" expr \")\"")
		},
	}
	for name, make := range grammars {
		b.Run(name, func(b *testing.B) {
			g, err := make()
			c := mustBind(b, g, err, v)
			r := rand.New(rand.NewPCG(3, 4))
			var slowest, total time.Duration
			over, tokens := 0, 0
			for tokens < b.N {
				m, err := c.Matcher(false)
				if err != nil {
					b.Fatal(err)
				}
				for left := 199; left >= 0 && !m.Finished(); left-- {
					start := time.Now()
					mask, err := m.Mask()
					d := time.Since(start)
					total, slowest = total+d, max(slowest, d)
					if d > 100*time.Microsecond {
						over++
					}
					if err != nil {
						b.Fatal(err)
					}
					tokens++
					id, err := m.Accept(pick(r, mask), left)
					if err != nil {
						b.Fatal(err)
					}
					if v.list.IsEOG(id) {
						break
					}
				}
			}
			b.ReportMetric(float64(total.Nanoseconds())/float64(tokens), "ns/mask")
			b.ReportMetric(float64(slowest.Nanoseconds()), "ns/slowest")
			b.ReportMetric(float64(over), "over-0.1ms")
			b.ReportMetric(float64(tokens), "tokens")
			b.ReportMetric(float64(c.cache.size), "cache-bytes")
		})
	}
}

// pick returns a random token of a mask.
func pick(r *rand.Rand, mask []uint64) int32 {
	n := r.IntN(count(mask))
	for w, word := range mask {
		for ; word != 0; word &= word - 1 {
			if n == 0 {
				return int32(w*64) + int32(bits.TrailingZeros64(word))
			}
			n--
		}
	}
	panic("the mask is empty")
}

func BenchmarkVocabulary(b *testing.B) {
	v := largeVocab()
	for b.Loop() {
		NewVocabulary(v.list, len(v.list))
	}
}

func count(mask []uint64) int {
	n := 0
	for _, w := range mask {
		n += bits.OnesCount64(w)
	}
	return n
}
