package sample

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestStops(t *testing.T) {
	for _, tc := range []struct {
		name   string
		stops  []string
		pieces []string
		emits  []string // per piece, then what Flush returns
		stop   bool
	}{
		{"none", nil, []string{"ab", "c"}, []string{"ab", "c", ""}, false},
		{"whole", []string{"END"}, []string{"abENDcd"}, []string{"ab", ""}, true},
		{"across pieces", []string{"END"}, []string{"abE", "N", "Dcd", "x"}, []string{"ab", "", "", "", ""}, true},
		{"false alarm", []string{"END"}, []string{"aE", "Nx"}, []string{"a", "ENx", ""}, false},
		{"held to the end", []string{"END"}, []string{"aEN"}, []string{"a", "EN"}, false},
		{"restart inside a partial match", []string{"aab"}, []string{"aa", "a", "b"}, []string{"", "a", "", ""}, true},
		{"first complete wins", []string{"abcd", "bc"}, []string{"xab", "cd"}, []string{"x", "a", ""}, true},
		{"longest at the same end", []string{"bc", "abc"}, []string{"xab", "cd"}, []string{"x", "", ""}, true},
		{"shared lead byte", []string{"é"}, []string{"caf\xc3", "\xa8", "\xc3\xa9"}, []string{"caf", "è", "", ""}, true},
		{"unfinished rune", nil, []string{"\xf0\x9f", "\x98", "\x80!"}, []string{"", "", "😀!", ""}, false},
		{"unfinished to the end", nil, []string{"a\xf0\x9f"}, []string{"a", "\xf0\x9f"}, false},
		{"never valid", nil, []string{"a\xff\x80", "\x80"}, []string{"a\xff\x80", "\x80", ""}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := NewStops(tc.stops)
			if err != nil {
				t.Fatal(err)
			}
			var emits []string
			stopped := false
			for _, piece := range tc.pieces {
				var emit []byte
				emit, stopped = s.Append(nil, []byte(piece))
				emits = append(emits, string(emit))
			}
			emits = append(emits, string(s.Flush(nil)))
			if diff := cmp.Diff(tc.emits, emits); diff != "" {
				t.Errorf("pieces (-want +got):\n%s", diff)
			}
			if stopped != tc.stop {
				t.Errorf("stopped = %v, want %v", stopped, tc.stop)
			}
		})
	}
}

func TestNewStopsLimits(t *testing.T) {
	for _, tc := range []struct {
		stops []string
		want  string
	}{
		{make([]string, 17), "at most 16 stop strings are allowed, got 17"},
		{[]string{"a", ""}, "stop string 1 is empty"},
		{[]string{strings.Repeat("x", 1025)}, "stop string 0 has 1025 bytes, the limit is 1024"},
		{[]string{"\xff"}, "stop string 0 is not valid UTF-8"},
	} {
		if _, err := NewStops(tc.stops); err == nil || err.Error() != tc.want {
			t.Errorf("NewStops(%d strings) = %v, want %q", len(tc.stops), err, tc.want)
		}
	}
	if _, err := NewStops([]string{strings.Repeat("x", MaxStopBytes)}); err != nil {
		t.Error(err)
	}
}

// searchWhole is the definition of a match: it looks at every prefix of text.
func searchWhole(text string, stops []string) (before string, stopped bool) {
	for end := range len(text) + 1 {
		cut := end + 1
		for _, stop := range stops {
			if strings.HasSuffix(text[:end], stop) {
				cut = min(cut, end-len(stop))
			}
		}
		if cut <= end {
			return text[:cut], true
		}
	}
	return text, false
}

// mustHold returns how many bytes at the end of text may still belong to a
// stop string or to an unfinished character.
func mustHold(text string, stops []string) int {
	for n := len(text); n > 0; n-- {
		tail := text[len(text)-n:]
		if n < utf8.UTFMax && utf8.RuneStart(tail[0]) && !utf8.FullRuneInString(tail) {
			return n
		}
		for _, stop := range stops {
			if strings.HasPrefix(stop, tail) {
				return n
			}
		}
	}
	return 0
}

// checkStops pushes text in the given pieces and compares with searchWhole.
func checkStops(t interface{ Fatalf(string, ...any) }, stops, pieces []string) {
	s, err := NewStops(stops)
	if err != nil {
		t.Fatalf("NewStops(%q): %v", stops, err)
	}
	var got []byte
	var text strings.Builder
	stopped := false
	for _, piece := range pieces {
		got, stopped = s.Append(got, []byte(piece))
		text.WriteString(piece)
		if held := text.Len() - len(got); !stopped && held != mustHold(text.String(), stops) {
			t.Fatalf("stops %q after %q: %d bytes held, want %d", stops, text.String(), held, mustHold(text.String(), stops))
		}
	}
	got = s.Flush(got)
	want, wantStopped := searchWhole(text.String(), stops)
	if string(got) != want || stopped != wantStopped {
		t.Fatalf("stops %q, pieces %q: got %q, %v, want %q, %v", stops, pieces, got, stopped, want, wantStopped)
	}
}

func TestStopsEqualWholeTextSearch(t *testing.T) {
	letters := rapid.SampledFrom([]rune("aabbcéè😀"))
	rapid.Check(t, func(t *rapid.T) {
		stops := rapid.SliceOfN(rapid.StringOfN(letters, 1, 5, -1), 0, 4).Draw(t, "stops")
		text := rapid.StringOfN(letters, 0, 40, -1).Draw(t, "text")
		var pieces []string
		for len(text) > 0 {
			n := rapid.IntRange(0, min(6, len(text))).Draw(t, "bytes")
			pieces, text = append(pieces, text[:n]), text[n:]
		}
		checkStops(t, stops, pieces)
	})
}

func TestHoldingTextBackDoesNotAllocate(t *testing.T) {
	s, err := NewStops([]string{"aaab", "é"})
	if err != nil {
		t.Fatal(err)
	}
	pieces := [][]byte{[]byte("aa"), []byte("a"), []byte("xaa\xc3"), []byte("\xa8")}
	var out []byte
	push := func() {
		for _, p := range pieces {
			var stopped bool
			if out, stopped = s.Append(out[:0], p); stopped {
				t.Fatal("stopped")
			}
		}
	}
	push()
	if n := testing.AllocsPerRun(100, push); n != 0 {
		t.Errorf("%v allocations for %d pieces", n, len(pieces))
	}
}

func FuzzStops(f *testing.F) {
	f.Add("ab", "b\xc3\xa9", "xaab\xc3\xa9", uint8(2))
	f.Fuzz(func(t *testing.T, a, b, text string, size uint8) {
		text = text[:min(len(text), 256)] // searchWhole takes quadratic time
		var pieces []string
		for n := int(size%7) + 1; len(text) > 0; {
			n := min(n, len(text))
			pieces, text = append(pieces, text[:n]), text[n:]
		}
		if _, err := NewStops([]string{a, b}); err != nil {
			t.Skip()
		}
		checkStops(t, []string{a, b}, pieces)
	})
}
