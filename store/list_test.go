package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// TestListPages: pages of any size give every session once, in one order, and a
// change moves a session to the front.
func TestListPages(t *testing.T) {
	s := openStore(t, Options{})
	u := s.User(1)
	var want []string
	for i := range 7 {
		x := must(u.Create(New{Title: fmt.Sprint(i), Tags: []string{fmt.Sprint(i % 2)}, Key: testKey()}))
		want = append([]string{x.ID}, want...)
		must(s.User(2).Create(New{Title: "another's", Key: testKey()}))
	}
	pages := func(f Filter) (ids []string) {
		for {
			page := must(u.List(f))
			for _, x := range page {
				ids = append(ids, x.ID)
			}
			if len(page) < f.Limit || f.Limit == 0 {
				return ids
			}
			f.After = page[len(page)-1].ID
		}
	}
	for limit := range 9 {
		if got := pages(Filter{Limit: limit}); !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v, want %v", limit, got, want)
		}
	}
	if got := pages(Filter{Limit: 2, Tag: "1"}); !slices.Equal(got, []string{want[1], want[3], want[5]}) {
		t.Errorf("pages of a tag: %v", got)
	}
	for _, after := range []string{"absent", must(s.User(2).List(Filter{Limit: 1}))[0].ID, want[0]} {
		if _, err := u.List(Filter{After: after, Tag: "1"}); !errors.Is(err, ErrNotFound) {
			t.Errorf("after %s, which is not in the list: %v", after, err)
		}
	}
	title := "moved"
	must(u.Edit(want[6], Edit{Title: &title}))
	if got := must(u.List(Filter{Limit: 1})); got[0].ID != want[6] || got[0].Title != title {
		t.Errorf("an edited session is not the first: %+v", got)
	}
}
