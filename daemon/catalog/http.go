package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetries bounds the attempts in a row that bring no new byte.
const maxRetries = 4

var errStalled = errors.New("the server sent nothing for too long")

// httpFetcher downloads a file and resumes where an earlier download stopped.
type httpFetcher struct {
	puller *puller
	url    string
	bytes  int64 // expected; 0 when not known
}

func (h *httpFetcher) request(ctx context.Context, method string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, h.url, nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	// Offsets count the bytes of the file itself.
	r.Header.Set("Accept-Encoding", "identity")
	r.Header.Set("User-Agent", "edged")
	return r, nil
}

func (h *httpFetcher) size(ctx context.Context) (int64, error) {
	size := int64(-1)
	err := h.retry(ctx, func() (progress bool, err error) {
		r, err := h.request(ctx, http.MethodHead)
		if err != nil {
			return false, err
		}
		resp, err := h.puller.client.Do(r)
		if err != nil {
			return false, classify(err)
		}
		resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusOK:
			size = resp.ContentLength
		case http.StatusMethodNotAllowed, http.StatusNotImplemented: // not known, then
		default:
			return false, statusError(resp)
		}
		return false, nil
	})
	return size, err
}

func (h *httpFetcher) fetch(ctx context.Context, part *partial, report Progress) error {
	return h.retry(ctx, func() (progress bool, err error) {
		before := part.bytes
		err = h.attempt(ctx, part, report)
		return part.bytes > before, err
	})
}

// retry repeats try after transient failures. One that made progress does not
// count.
func (h *httpFetcher) retry(ctx context.Context, try func() (progress bool, err error)) error {
	for retries := 0; ; retries++ {
		progress, err := try()
		var transient *transientError
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil || !errors.As(err, &transient) {
			return err
		}
		if progress {
			retries = 0
		}
		if retries == maxRetries {
			return fmt.Errorf("give up after %d retries: %w", retries, err)
		}
		if waitErr := h.puller.backoff(ctx, retries); waitErr != nil {
			return waitErr
		}
	}
}

// attempt makes one request and appends its answer to part.
func (h *httpFetcher) attempt(ctx context.Context, part *partial, report Progress) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(h.puller.stall, func() { cancel(errStalled) })
	defer watchdog.Stop()

	r, err := h.request(ctx, http.MethodGet)
	if err != nil {
		return err
	}
	resuming := part.bytes > 0 && part.origin.URL == h.url && part.origin.validator() != ""
	if resuming {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", part.bytes))
		r.Header.Set("If-Range", part.origin.validator())
	}
	resp, err := h.puller.client.Do(r)
	if err != nil {
		return classify(stallCause(ctx, err))
	}
	defer resp.Body.Close()
	complete, err := h.begin(resp, part, resuming)
	if err != nil || complete {
		return err
	}
	body := io.Reader(connectionReader{ctx, resp.Body})
	if part.bytes == 0 {
		// Before gigabytes of something else arrive.
		if body, err = sniff(body); err != nil {
			return err
		}
	}
	start, total := part.bytes, part.origin.Bytes
	report(start, total)
	_, err = copyChunks(ctx, part, body, func(n int64) {
		watchdog.Reset(h.puller.stall)
		report(start+n, total)
	})
	if errors.Is(err, errStalled) {
		return &transientError{err}
	}
	if err != nil {
		return err
	}
	return h.end(part)
}

// begin reads the answer's head and prepares part for the body. complete says
// that part holds the whole file already.
func (h *httpFetcher) begin(resp *http.Response, part *partial, resuming bool) (complete bool, err error) {
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return false, fmt.Errorf("the server insists on content encoding %q", e)
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return false, h.beginWhole(resp, part)
	case resuming && resp.StatusCode == http.StatusPartialContent:
		return false, h.beginRest(resp, part)
	case resuming && resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		if part.bytes == part.origin.Bytes {
			return true, nil
		}
		return false, h.startAgain(part, "it refuses to continue at byte %d", part.bytes)
	}
	return false, statusError(resp)
}

// beginWhole takes an answer that holds the file from its start, whether the
// file changed, the server ignores ranges, or nothing was there to resume.
func (h *httpFetcher) beginWhole(resp *http.Response, part *partial) error {
	size := resp.ContentLength
	if size < 0 && h.bytes != 0 {
		size = h.bytes
	}
	if h.bytes != 0 && size != h.bytes {
		return fmt.Errorf("the server offers %d bytes, expected %d", size, h.bytes)
	}
	if size < 0 && len(h.puller.opts.SHA256) == 0 {
		return errors.New("the server does not state the length, and without a SHA-256 a cut download could not be noticed")
	}
	o := origin{URL: h.url, ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified"), Bytes: size}
	if err := part.restart(o); err != nil {
		return err
	}
	return h.puller.requireSpace(size)
}

// beginRest takes an answer that continues part, if it really does.
func (h *httpFetcher) beginRest(resp *http.Response, part *partial) error {
	first, total, err := parseContentRange(resp.Header.Get("Content-Range"))
	if err != nil {
		return err
	}
	if etag := resp.Header.Get("ETag"); part.origin.ETag != "" && etag != "" && etag != part.origin.ETag {
		return h.startAgain(part, "the file changed")
	}
	if first != part.bytes || total >= 0 && part.origin.Bytes >= 0 && total != part.origin.Bytes {
		return h.startAgain(part, "it continues at byte %d of %d instead of %d of %d", first, total, part.bytes, part.origin.Bytes)
	}
	return h.puller.requireSpace(part.origin.Bytes - part.bytes)
}

// startAgain drops what cannot be continued and asks for another attempt.
func (h *httpFetcher) startAgain(part *partial, format string, args ...any) error {
	if err := part.restart(origin{}); err != nil {
		return err
	}
	return transientf("the server cannot resume: "+format, args...)
}

// end judges a body that ended regularly.
func (h *httpFetcher) end(part *partial) error {
	switch total := part.origin.Bytes; {
	case total >= 0 && part.bytes < total:
		return transientf("the connection ended after %d of %d bytes", part.bytes, total)
	case total >= 0 && part.bytes > total:
		return h.startAgain(part, "it sent %d bytes of %d", part.bytes, total)
	}
	return nil
}

// connectionReader marks the failures of a connection as transient, which sets
// them apart from those of the disk.
type connectionReader struct {
	ctx context.Context // of the request
	r   io.Reader
}

func (c connectionReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if err != nil && err != io.EOF {
		err = &transientError{stallCause(c.ctx, err)}
	}
	return n, err
}

// sniff checks the first bytes of r and returns a reader that still has them.
func sniff(r io.Reader) (io.Reader, error) {
	head := make([]byte, headerBytes)
	n, err := io.ReadFull(r, head)
	var transient *transientError
	if errors.As(err, &transient) {
		return nil, err
	}
	if n == headerBytes {
		if err := checkHeader(bytes.NewReader(head)); err != nil {
			return nil, fmt.Errorf("the server sent something else: %w", err)
		}
	}
	return io.MultiReader(bytes.NewReader(head[:n]), r), nil
}

// stallCause names the watchdog as the reason of an error that it caused.
func stallCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
		return cause
	}
	return err
}

// parseContentRange parses "bytes FIRST-LAST/TOTAL". total is -1 for "*".
func parseContentRange(s string) (first, total int64, err error) {
	malformed := fmt.Errorf("the server sent a malformed Content-Range %q", s)
	rest, ok := strings.CutPrefix(s, "bytes ")
	span, size, ok2 := strings.Cut(rest, "/")
	from, to, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, malformed
	}
	first, err1 := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	total, err3 := int64(-1), error(nil)
	if size != "*" {
		total, err3 = strconv.ParseInt(size, 10, 64)
	}
	if err1 != nil || err2 != nil || err3 != nil || first < 0 || last < first || total >= 0 && last >= total {
		return 0, 0, malformed
	}
	return first, total, nil
}
