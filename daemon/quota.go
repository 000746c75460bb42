package daemon

import (
	"fmt"
	"sync"

	"edged/ipc"
	"edged/store"
)

// quota limits what each user may have in the store. It may be used from any
// goroutine.
type quota struct {
	limits func() Store // the configuration as it is now

	creating sync.Mutex // held from counting sessions until there is one more
}

// create makes a session, unless the user has as many as one may have.
func (q *quota) create(u store.User, uid uint32, make func() (store.Session, error)) (store.Session, error) {
	q.creating.Lock()
	defer q.creating.Unlock()
	if err := q.oneMore(u, uid); err != nil {
		return store.Session{}, err
	}
	return make()
}

// oneMore says why a user may have no further session, or nil.
func (q *quota) oneMore(u store.User, uid uint32) error {
	most := q.limits().UserSessions
	if most == 0 {
		return nil
	}
	found, err := u.List(store.Filter{})
	if err != nil {
		return err
	}
	if n := len(found); n >= most {
		return quotaError("user id %d has %d sessions, and store.user_sessions allows %d; delete some first", uid, n, most)
	}
	return nil
}

// fits says whether a session may hold a number of payload bytes beside the
// user's others. What several sessions share counts for each of them.
func (q *quota) fits(u store.User, id string, bytes int64) error {
	most := int64(q.limits().UserBudget)
	if most == 0 {
		return nil
	}
	found, err := u.List(store.Filter{})
	if err != nil {
		return err
	}
	total := bytes
	for _, x := range found {
		if x.ID != id {
			total += x.Bytes
		}
	}
	if total > most {
		return quotaError("the user's sessions would take %d bytes, and store.user_budget allows %d; delete some first", total, most)
	}
	return nil
}

func quotaError(format string, args ...any) error {
	return &ipc.Error{Kind: ipc.KindStorage, Code: ipc.CodeQuota, Param: "session", Message: fmt.Sprintf(format, args...)}
}
