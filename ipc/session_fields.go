package ipc

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what sessions are called; docs/API.md lists them.
const (
	maxTitle    = 200 // characters
	maxTags     = 64
	maxTag      = 64 // characters
	maxListed   = 10_000
	defaultList = 1000 // sessions of one answer
)

// CheckTitle says what is wrong with the title of a session, nil if nothing is.
// Titles are names: people type them, and terminals print them.
func CheckTitle(title string) error { return checkName(title, maxTitle) }

func checkName(name string, most int) error {
	n := utf8.RuneCountInString(name)
	switch {
	case !utf8.ValidString(name):
		return fmt.Errorf("must be UTF-8 text, got %s", show([]byte(strconv.Quote(name))))
	case n < 1 || n > most:
		return fmt.Errorf("must have 1 to %d characters, got %d", most, n)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("must not begin or end with a space, got %s", show([]byte(strconv.Quote(name))))
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("must have printable characters only, got %s", show([]byte(strconv.Quote(name))))
	}
	return nil
}

// CheckTags says what is wrong with the tags of a session, nil if nothing is.
func CheckTags(tags []string) error {
	if len(tags) > maxTags {
		return fmt.Errorf("must be at most %d, got %d", maxTags, len(tags))
	}
	seen := map[string]bool{}
	for i, tag := range tags {
		if err := checkName(tag, maxTag); err != nil {
			return fmt.Errorf("[%d] %w", i, err)
		}
		if seen[tag] {
			return fmt.Errorf("[%d] is %s, as one before it", i, strconv.Quote(tag))
		}
		seen[tag] = true
	}
	return nil
}

// decodeSessionBody reads a body whose fields are all ours, so that one
// that is not known is a mistake.
func decodeSessionBody(body []byte, known ...string) (*object, *Error) {
	o, err := decodeBody(body)
	if err != nil {
		return nil, err
	}
	for _, field := range slices.Sorted(maps.Keys(o.fields)) {
		if !slices.Contains(known, field) {
			return nil, invalid("", "the body has the field %s; known are %s", show([]byte(strconv.Quote(field))), strings.Join(known, ", "))
		}
	}
	return o, nil
}

// title reads the title of a session, nil when there is none.
func (o *object) title() *string {
	title, ok := o.string("title")
	if !ok {
		return nil
	}
	if err := CheckTitle(title); err != nil {
		o.fail("title", "%v", err)
	}
	return &title
}

func (o *object) needTitle() string {
	title := o.title()
	if title == nil {
		o.fail("title", "is required: a name of 1 to %d characters", maxTitle)
		return ""
	}
	return *title
}

// tags reads the tags of a session, nil when there is no such field.
func (o *object) tags() *[]string {
	raw, ok := o.get("tags")
	if !ok {
		return nil
	}
	tags := []string{}
	isArray := elements(raw, func(i int, raw json.RawMessage) bool {
		var tag string
		if isNull(raw) || json.Unmarshal(raw, &tag) != nil {
			o.fail(fmt.Sprintf("tags[%d]", i), "must be a string, got %s", show(raw))
			return false
		}
		tags = append(tags, tag)
		return len(tags) <= maxTags // enough to see that there are too many
	})
	if !isArray {
		o.fail("tags", "must be an array of strings, got %s", show(raw))
	}
	if err := CheckTags(tags); err != nil {
		o.fail("tags", "%v", err)
	}
	return &tags
}

func decodeSessionNew(body []byte) (*SessionNew, *Error) {
	o, err := decodeSessionBody(body, "title", "tags", "model")
	if err != nil {
		return nil, err
	}
	n := &SessionNew{Title: o.needTitle()}
	if tags := o.tags(); tags != nil {
		n.Tags = *tags
	}
	n.Model, _ = o.string("model")
	if o.err != nil {
		return nil, o.err
	}
	return n, nil
}

func decodeSessionEdit(body []byte) (*SessionEdit, *Error) {
	o, err := decodeSessionBody(body, "title", "tags")
	if err != nil {
		return nil, err
	}
	e := &SessionEdit{Title: o.title(), Tags: o.tags()}
	switch {
	case o.err != nil:
		return nil, o.err
	case e.Title == nil && e.Tags == nil:
		return nil, invalid("", "the body changes nothing; give title or tags")
	}
	return e, nil
}

// forkJob is the decoded body of a fork.
type forkJob struct {
	title string
	at    int // messages, -1 = all
}

func decodeFork(body []byte) (*forkJob, *Error) {
	o, err := decodeSessionBody(body, "title", "messages")
	if err != nil {
		return nil, err
	}
	j := &forkJob{title: o.needTitle(), at: -1}
	if at := o.smallInt("messages", 0, 1<<31-1); at != nil {
		j.at = *at
	}
	if o.err != nil {
		return nil, o.err
	}
	return j, nil
}

// decodeSessionQuery reads the query of a list. A parameter that is not known
// could have been meant to hide something.
func decodeSessionQuery(query string) (SessionFilter, *Error) {
	f := SessionFilter{Limit: defaultList}
	values, err := url.ParseQuery(query)
	if err != nil {
		return f, invalid("", "the query is malformed: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		v := values[name]
		if len(v) > 1 {
			return f, invalid(name, "the query has %s %d times; give it once", show([]byte(strconv.Quote(name))), len(v))
		}
		switch name {
		case "id":
			f.ID = v[0]
		case "title":
			f.Title = v[0]
		case "tag":
			f.Tag = v[0]
		case "after":
			f.After = v[0]
		case "limit":
			n, err := strconv.Atoi(v[0])
			if err != nil || n < 1 || n > maxListed {
				return f, invalid(name, "limit must be an integer from 1 to %d, got %s", maxListed, show([]byte(strconv.Quote(v[0]))))
			}
			f.Limit = n
		default:
			return f, invalid("", "the query has %s; known are id, title, tag, after and limit", show([]byte(strconv.Quote(name))))
		}
		if v[0] == "" {
			return f, invalid(name, "%s must not be empty", name)
		}
	}
	return f, nil
}
