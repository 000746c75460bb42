package tok

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestStreamUTF8 compares the replacement of bytes that are not UTF-8 with Python's, however the bytes are divided
// into tokens.
func TestStreamUTF8(t *testing.T) {
	var f struct {
		Cases []struct {
			Bytes []uint16 // byte values: encoding/json would take []byte for base64
			Text  string
		}
	}
	loadJSON(t, "utf8.json", &f)
	tk := mustBuild(t, byteMetadata(t, nil, nil))
	for _, c := range f.Cases {
		var b []byte
		for _, v := range c.Bytes {
			b = append(b, byte(v))
		}
		for size := 1; size <= 4; size++ {
			s := tk.NewStream(NoToken, false)
			var out []byte
			for rest := string(b); rest != ""; {
				n := min(size, len(rest))
				out = s.append(out, rest[:n])
				rest = rest[n:]
			}
			if got := string(out) + s.Flush(); got != c.Text {
				t.Errorf("% x in steps of %d gives %q, want %q", b, size, got, c.Text)
			}
		}
	}
}

// TestStream shows that a stream gives what Decode gives, a character as soon as it is complete, and no half of one.
func TestStream(t *testing.T) {
	for _, name := range fixtureNames() {
		tk := mustBuild(t, loadFixture(t, name).Metadata)
		rapid.Check(t, func(rt *rapid.T) {
			ids := tk.EncodeSpecial(nil, text(false).Draw(rt, "text"))
			control := rapid.Bool().Draw(rt, "control")
			want := tk.Decode(ids)
			if control {
				want = tk.DecodeSpecial(ids)
			}
			pushed, appended := tk.NewStream(NoToken, control), tk.NewStream(NoToken, control)
			var a strings.Builder
			var b []byte
			for _, id := range ids {
				part := pushed.Push(id)
				if strings.ToValidUTF8(part, "?") != part {
					rt.Fatalf("Push(%d) = %q", id, part)
				}
				a.WriteString(part)
				b = appended.Append(b, id)
			}
			a.WriteString(pushed.Flush())
			b = append(b, appended.Flush()...)
			if a.String() != want || string(b) != want {
				rt.Fatalf("%s: Push gives %q, Append %q, Decode %q", name, a.String(), b, want)
			}
		})
	}
}

func TestStreamStart(t *testing.T) {
	tk := mustBuild(t, loadFixture(t, "spm-prefix").Metadata)
	the, ok := tk.Lookup(" the")
	if !ok {
		t.Fatal(`no token " the"`)
	}
	end, ok := tk.Lookup("<|im_end|>")
	if !ok {
		t.Fatal(`no token "<|im_end|>"`)
	}
	for _, c := range []struct {
		name string
		prev int32
		want string
	}{
		{"beginning of a text", NoToken, "the the"},
		{"after a control token", end, "the the"},
		{"after an ordinary token", the, " the the"},
	} {
		s := tk.NewStream(c.prev, false)
		if got := s.Push(the) + s.Push(the); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestDecodeControl(t *testing.T) {
	tk := mustBuild(t, byteMetadata(t, []string{"<|im_start|>", "<|im_end|>"}, []string{"</think>"}))
	ids := tk.EncodeSpecial(nil, "<|im_start|>a</think>b<|im_end|>")
	if got, want := tk.Decode(ids), "a</think>b"; got != want {
		t.Errorf("Decode = %q, want %q", got, want)
	}
	if got, want := tk.DecodeSpecial(ids), "<|im_start|>a</think>b<|im_end|>"; got != want {
		t.Errorf("DecodeSpecial = %q, want %q", got, want)
	}
	if got, want := tk.Decode([]int32{'a', int32(tk.Size()), -1}), "a\ufffd\ufffd"; got != want {
		t.Errorf("Decode of ids out of range = %q, want %q", got, want)
	}
	if got := tk.Token(-1) + tk.Token(int32(tk.Size())); got != "" {
		t.Errorf("Token of ids out of range = %q", got)
	}
}

func TestStreamAllocations(t *testing.T) {
	tk := mustBuild(t, loadFixture(t, "bpe-qwen2").Metadata)
	ids := tk.Encode(nil, "the tokens of the user 日本😁")
	ascii := tk.Encode(nil, "the tokens of the user")
	s := tk.NewStream(NoToken, false)
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		for _, id := range ids {
			buf = s.Append(buf[:0], id)
		}
	}); n != 0 {
		t.Errorf("Append allocates %v times", n)
	}
	length := 0
	if n := testing.AllocsPerRun(100, func() {
		for _, id := range ascii {
			length += len(s.Push(id))
		}
	}); n != 0 {
		t.Errorf("Push allocates %v times for whole characters", n)
	}
}
