package chat

import "testing"

func TestSmoke(t *testing.T) {
	tm, err := New("{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}", Options{BOS: "<s>"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := tm.Render(Request{Messages: []Message{{Role: "user", Content: "hi"}}, AddGenerationPrompt: true})
	t.Logf("%q %v %v", out, err, tm.supports)
}
