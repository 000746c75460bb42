package daemon

import (
	"fmt"
	"strings"

	"edged/infer"
)

// statusText is the line that `systemctl status` shows of a daemon that is ready:
// the model, its context, what is kept, what runs and what is wrong.
func (d *service) statusText() string {
	s := d.engine.Status()
	parts := []string{"ready: no model is resident"}
	switch {
	case s.State == infer.Loading:
		parts[0] = loadText(s.Load)
	case s.State == infer.Failed:
		parts[0] = "failed: " + s.Reason
	case s.Model != "":
		parts[0] = "ready: " + modelText(s)
	}
	if d.api.store != nil {
		if st, err := d.api.store.Stat(); err == nil { // otherwise the store's own errors tell
			parts = append(parts, fmt.Sprintf("%d sessions", st.Sessions))
		}
	}
	if s.Running+s.Queued > 0 {
		parts = append(parts, fmt.Sprintf("%d running, %d waiting", s.Running, s.Queued))
	}
	if text := healthText(d.health.Findings()); text != "" && s.State != infer.Failed {
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// tellStatus sends the status line when it has changed.
func (d *service) tellStatus() {
	if d.stopping.Load() {
		return // the line says what is waited for
	}
	text := d.statusText()
	if last := d.shown.Swap(&text); last == nil || *last != text {
		d.notify.status(text)
	}
}

// alive is what feeds the watchdog: w's word, which is also a condition.
func (d *service) alive(w *progressWatch) func() error {
	return func() error {
		err := w.check()
		text := ""
		if err != nil {
			text = err.Error()
		}
		put(d.health, engineStuck, text)
		return err
	}
}
