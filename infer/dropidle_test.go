package infer

import (
	"testing"
	"testing/synctest"
)

func TestDropIdleForgetsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := startToy(t, toyConfig(), &toyBackend{})
		var prompts [3][]int32
		for i := range prompts {
			prompts[i] = longPrompt(10*i+1, 64)
			if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(prompts[i]...), MaxTokens: 4}); err != nil {
				t.Fatal(err)
			}
		}
		if n := e.Status().KeptSeqs; n != 3 {
			t.Fatalf("%d sequences are kept", n)
		}
		free := e.Status().FreeTok
		e.DropIdle()
		synctest.Wait()
		s := e.Status()
		if s.KeptSeqs != 1 || s.FreeTok <= free {
			t.Errorf("%d sequences are kept, %d tokens are free, before %d", s.KeptSeqs, s.FreeTok, free)
		}
		// The newest is still there, the oldest is computed again, and both have the same answers.
		for i, cached := range map[int]bool{2: true, 0: false} {
			text, res, err := collect(t.Context(), e, &Request{Prompt: prompt(prompts[i]...), MaxTokens: 4})
			if err != nil || text != toyText(toyAnswer(prompts[i], 4, toyContext, true)) {
				t.Errorf("prompt %d: %q, %v", i, text, err)
			}
			if (res.Usage.Cached > 0) != cached {
				t.Errorf("prompt %d: %d tokens were cached", i, res.Usage.Cached)
			}
		}
	})
}
