package chat

import (
	"errors"
	"fmt"

	"edged/infer/chat/jinja"
)

// addGlobals adds the names that transformers adds to Jinja2's own.
func (t *Template) addGlobals(vars map[string]any) {
	vars["raise_exception"] = jinja.Func(raiseException)
	vars["strftime_now"] = jinja.Func(t.strftimeNow)
	for name, text := range map[string]string{"bos_token": t.opt.BOS, "eos_token": t.opt.EOS} {
		if text != "" {
			vars[name] = text
		}
	}
}

func raiseException(pos []any, kw *jinja.Dict) (any, error) {
	if len(pos) == 0 {
		if v, ok := kw.Get("message"); ok {
			pos = []any{v}
		}
	}
	if len(pos) != 1 {
		return nil, errors.New("raise_exception takes 1 argument")
	}
	message, ok := pos[0].(string)
	if !ok {
		message = fmt.Sprint(pos[0])
	}
	return nil, &RaisedError{message}
}

func (t *Template) strftimeNow(pos []any, kw *jinja.Dict) (any, error) {
	if len(pos) == 0 {
		if v, ok := kw.Get("format"); ok {
			pos = []any{v}
		}
	}
	if len(pos) != 1 {
		return nil, errors.New("strftime_now takes 1 argument")
	}
	format, ok := pos[0].(string)
	if !ok {
		return nil, errors.New("strftime_now needs a string")
	}
	return strftime(t.opt.Now(), format)
}

// render runs the template and lifts out what the template itself raised.
func (t *Template) render(vars map[string]any) (string, error) {
	out, err := t.tmpl.Render(vars)
	var raised *RaisedError
	if errors.As(err, &raised) {
		return "", raised
	}
	return out, err
}
