package webui

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"edged/ipc"
	"edged/ipc/ipctest"
)

// browserLimit ends a test whose page never shows what it should.
const browserLimit = 2 * time.Minute

// page is a headless Chromium that has followed the link.
type page struct {
	t        *testing.T
	ctx      context.Context
	server   *Server
	sessions *ipctest.Sessions
	engine   *ipctest.Engine

	mu    sync.Mutex
	wrong []string // errors that the page has logged
}

func openPage(t *testing.T) *page {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("EDGED_SDK_TESTS") != "" {
			t.Fatal("these tests need chromium: ", err)
		}
		t.Skip("no chromium: ", err)
	}
	p := &page{t: t, sessions: new(ipctest.Sessions), engine: ipctest.New()}
	p.engine.GenerateFunc = p.turn
	p.server = start(t, p.engine, p.sessions)
	alloc, stop := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1400, 900))...)
	quiet := func(string, ...any) {} // of events that are newer than the library
	ctx, stopTab := chromedp.NewContext(alloc, chromedp.WithErrorf(quiet))
	ctx, stopTime := context.WithTimeout(ctx, browserLimit)
	t.Cleanup(func() { stopTime(); stopTab(); stop() })
	p.ctx = ctx
	chromedp.ListenTarget(ctx, func(ev any) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			p.wrong = append(p.wrong, ev.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			if ev.Type == runtime.APITypeError {
				p.wrong = append(p.wrong, fmt.Sprint(ev.Args))
			}
		}
	})
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, w := range p.wrong {
			t.Error("the page: ", w)
		}
	})
	p.do(chromedp.Navigate(p.server.Link()), chromedp.WaitVisible("#send"))
	p.shows("#state", "scripted")
	return p
}

func (p *page) do(actions ...chromedp.Action) {
	p.t.Helper()
	if err := chromedp.Run(p.ctx, actions...); err != nil {
		var text string
		_ = chromedp.Run(p.ctx, chromedp.Text("body", &text)) // what is seen helps; the error is the first one
		p.t.Fatalf("%v; the page shows:\n%s", err, text)
	}
}

// shows waits until an element holds a text.
func (p *page) shows(selector, text string) {
	p.t.Helper()
	p.do(chromedp.Poll(fmt.Sprintf("document.querySelector(%q)?.textContent.includes(%q)", selector, text), nil))
}

// lacks waits until an element does not hold a text.
func (p *page) lacks(selector, text string) {
	p.t.Helper()
	p.do(chromedp.Poll(fmt.Sprintf("!document.querySelector(%q)?.textContent.includes(%q)", selector, text), nil))
}

func (p *page) say(text string) {
	p.t.Helper()
	p.do(chromedp.SendKeys("#message", text), chromedp.Click("#send"))
}

// answerDialog waits for the dialog, replaces its text unless it is "", and agrees.
func (p *page) answerDialog(text string) {
	p.t.Helper()
	p.do(chromedp.WaitVisible("#ask[open]"))
	if text != "" {
		p.do(chromedp.SetValue("#ask-value", text))
	}
	p.do(chromedp.Click("#ask-yes"))
}

// turn answers as the daemon does: with what was asked, kept in the session.
func (p *page) turn(_ context.Context, req *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
	n := len(req.Messages)
	asked := req.Messages[n-1].Content
	if strings.HasPrefix(asked, "refuse") {
		return ipc.Result{}, &ipc.Error{Kind: ipc.KindInvalidRequest, Param: "messages", Message: "this is refused"}
	}
	thought := ""
	if strings.HasPrefix(asked, ipctest.Pondering) {
		thought = "Hm, <i>well</i>."
		if err := emit(ipc.Delta{Thought: thought}); err != nil {
			return ipc.Result{}, err
		}
	}
	answer := fmt.Sprintf("Answer to message %d: <b>%s</b>\n```go\nvar x = 1\n```\nEnd.", n, asked)
	for _, d := range []ipc.Delta{{Progress: &ipc.Progress{Total: 8}}, {Progress: &ipc.Progress{Done: 8, Total: 8}}, {Text: answer[:9]}, {Text: answer[9:]}} {
		if err := emit(d); err != nil {
			return ipc.Result{}, err
		}
	}
	res := ipc.Result{FinishReason: ipc.FinishStop, PromptTokens: 8, CompletionTokens: 4, PredictTime: time.Second}
	if req.Session != "" {
		p.sessions.Append(req.Session, ipc.SessionMessage{Message: req.Messages[n-1], Tokens: 8})
		p.sessions.Append(req.Session, ipc.SessionMessage{Message: ipc.Message{Role: "assistant", Content: answer, Reasoning: thought}, Tokens: 4})
		res.Session = &ipc.SessionResult{ID: req.Session, Durable: true}
	}
	if req.Reach > 0 {
		res.Reach = &ipc.Reach{Tokens: 4000, Layers: 8, Sparse: 6, Share: []float32{1, 0, 0.5, 0.5}}
	}
	return res, nil
}

// What the model thinks is shown while it does, and folded once it answers.
func TestThoughtIsFolded(t *testing.T) {
	p := openPage(t)
	p.say("ponder this")
	p.shows("#transcript li.assistant .content", "Answer to message 1")
	p.shows("#transcript li.assistant details.thought", "Hm, <i>well</i>.")
	p.do(chromedp.Poll("document.querySelector('#transcript details.thought').open === false", nil))
	p.lacks("#transcript li.assistant .content", "Hm")
}

func TestMemoryAndAttentionAreShown(t *testing.T) {
	p := openPage(t)
	for _, text := range []string{"paged q8", "4,000 of 4,096 tokens", "2 idle conversations", "GPU memory", "6.0 GiB", "kv-pages", "9.0 GiB of 64.0 GiB", "3 sessions", "7.0 GiB of 100 GiB"} {
		p.shows("#tiers", text)
	}
	p.say("where?")
	p.shows("#reach", "50.0 % of 4,000 tokens, in 6 of 8 layers")
	var label string
	p.do(chromedp.AttributeValue("#reach svg", "aria-label", &label, nil))
	if want := "Attended to most: tokens 0 to 1,000 (100 %), tokens 2,000 to 3,000 (50 %), tokens 3,000 to 4,000 (50 %)"; label != want {
		t.Errorf("the drawing says %q, want %q", label, want)
	}
	p.do(chromedp.Click("#new-chat"))
	p.lacks("#reach", "tokens")
}

func TestASessionInTheBrowser(t *testing.T) {
	p := openPage(t)
	p.say("What is this?")
	p.shows("#transcript", "Answer to message 1: <b>What is this?</b>") // text stays text
	p.shows("#transcript pre", "var x = 1")
	p.shows("#title", "What is this?")
	p.shows("#sessions [aria-current=true]", "What is this?")
	p.shows("#facts", "12 tokens")

	p.do(chromedp.Click("#rename"))
	p.answerDialog("the book")
	p.shows("#title", "the book")
	p.do(chromedp.Click("#tag"))
	p.answerDialog("law, old")
	p.shows("#sessions", "#law · #old")

	p.do(chromedp.Reload(), chromedp.WaitVisible("#send"))
	p.shows("#title", "the book") // the tab keeps its key, and what was open

	p.do(chromedp.Click("#transcript li.user .tools button")) // edit
	p.answerDialog("What was that?")
	p.shows("#title", "the book (edited)")
	p.shows("#transcript", "Answer to message 1: <b>What was that?</b>")

	p.do(chromedp.Click("#fork"))
	p.answerDialog("a fork")
	p.shows("#title", "a fork")
	p.shows("#sessions", "the book (edited)")

	p.do(chromedp.Click("#delete"))
	p.answerDialog("")
	p.lacks("#sessions", "a fork")
	p.do(chromedp.SendKeys("#find", "EDITED"), chromedp.Poll("document.querySelectorAll('#sessions button').length === 1", nil))
}

func TestATemporaryChatIsKeptNowhere(t *testing.T) {
	p := openPage(t)
	p.do(chromedp.Click("#new-chat"))
	p.say("one")
	p.shows("#transcript", "Answer to message 1")
	p.say("two")
	p.shows("#transcript", "Answer to message 3") // the page sent what was said before
	for _, r := range p.engine.Requests() {
		if r.Session != "" {
			t.Errorf("a request named the session %s", r.Session)
		}
	}
	p.do(chromedp.Click("#new-session"))
	p.lacks("#transcript", "Answer")
	p.shows("#sessions", "No sessions yet")
}

func TestARefusalGivesTheMessageBack(t *testing.T) {
	p := openPage(t)
	p.say("refuse this")
	p.shows("#problem", "this is refused")
	var text string
	p.do(chromedp.Value("#message", &text))
	if text != "refuse this" {
		t.Errorf("the field holds %q", text)
	}
	p.shows("#sessions", "No sessions yet") // the session that the message would have made is gone
	p.lacks("#transcript", "refuse this")
}

func TestDocumentsGoBeforeTheQuestion(t *testing.T) {
	p := openPage(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"a.txt": "First.\n\n", "b.txt": "Second.", "bad.bin": "\xff\xfe"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.do(chromedp.SetUploadFiles("#attach", []string{filepath.Join(dir, "bad.bin"), filepath.Join(dir, "a.txt"), filepath.Join(dir, "b.txt")}))
	p.shows("#problem", "bad.bin: this is not UTF-8 text")
	p.shows("#documents", "b.txt")
	p.say("Why?")
	p.shows("#transcript", "Answer to message 1")
	if got, want := p.engine.Requests()[0].Messages[0].Content, "a.txt:\nFirst.\nb.txt:\nSecond.\nWhy?"; got != want {
		t.Errorf("sent %q, want %q", got, want)
	}
	p.shows("#title", "Why?")
}

func TestExportAndImportInTheBrowser(t *testing.T) {
	p := openPage(t)
	p.say("keep this")
	p.shows("#facts", "12 tokens")
	dir := t.TempDir()
	done := make(chan struct{})
	chromedp.ListenTarget(p.ctx, func(ev any) {
		if ev, ok := ev.(*browser.EventDownloadProgress); ok && ev.State == browser.DownloadProgressStateCompleted {
			close(done)
		}
	})
	p.do(browser.SetDownloadBehavior(browser.SetDownloadBehaviorBehaviorAllow).WithDownloadPath(dir).WithEventsEnabled(true), chromedp.Click("#export"))
	select {
	case <-done:
	case <-p.ctx.Done():
		t.Fatal("the download never ended")
	}
	p.do(chromedp.SetUploadFiles("#import", []string{filepath.Join(dir, "s1.edged")}))
	p.do(chromedp.Poll("document.querySelectorAll('#sessions button').length === 2", nil))
}

func TestALinkThatWasUsedSaysSo(t *testing.T) {
	p := openPage(t)
	other, stop := chromedp.NewContext(p.ctx)
	defer stop()
	if err := chromedp.Run(other, chromedp.Navigate("about:blank"), chromedp.Navigate(p.server.Link()),
		chromedp.Poll("document.querySelector('#problem')?.textContent.includes('This link was used before')", nil)); err != nil {
		t.Fatal(err)
	}
}

// Everything that can be clicked has a name, every field a label, and the keyboard
// reaches what the mouse does.
func TestThePageIsAccessible(t *testing.T) {
	p := openPage(t)
	p.say("hello")
	p.shows("#facts", "12 tokens")
	var nameless []string
	p.do(chromedp.Evaluate(`[...document.querySelectorAll('button, input, textarea, select, a, summary')]
		.filter((e) => !(e.textContent.trim() || e.ariaLabel || e.labels?.[0]?.textContent.trim())).filter((e) => e.checkVisibility()).map((e) => e.outerHTML)`, &nameless))
	for _, e := range nameless {
		t.Error("has no name: ", e)
	}
	var outside []string
	p.do(chromedp.Evaluate(`[...document.querySelectorAll('[onclick]')].filter((e) => e.tabIndex < 0).map((e) => e.outerHTML)`, &outside))
	for _, e := range outside {
		t.Error("cannot be reached by keyboard: ", e)
	}
	p.do(chromedp.Focus("#message"), chromedp.SendKeys("#message", "by key\r"))
	p.shows("#transcript", "Answer to message 1: <b>by key</b>")
}
