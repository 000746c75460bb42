package catalog

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const maxRedirects = 10

// redirectError is a redirect that was refused, which no retry will change.
type redirectError struct{ err error }

func (e *redirectError) Error() string { return "refuse redirect: " + e.err.Error() }

// secureClient returns a client that follows redirects to https only. base
// lends its transport; nil stands for a transport with sane limits.
func secureClient(base *http.Client) *http.Client {
	c := &http.Client{}
	if base != nil {
		*c = *base
	} else {
		c.Transport = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 30 * time.Second,
			ForceAttemptHTTP2:     true,
		}
	}
	c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) >= maxRedirects {
			return &redirectError{fmt.Errorf("more than %d in a row", maxRedirects)}
		}
		if err := checkURL(r.URL); err != nil {
			return &redirectError{err}
		}
		return nil
	}
	return c
}

// parseFileURL parses a URL that names a file and may be fetched.
func parseFileURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("parse model URL: %w", err)
	}
	return u, checkURL(u)
}

// hubURL is where a hub serves OWNER/REPO/FILE.
func hubURL(base, target string) (string, error) {
	components := strings.SplitN(target, "/", 3)
	if len(components) != 3 {
		return "", fmt.Errorf("a hub model is OWNER/REPO/FILE, got %q", target)
	}
	return url.JoinPath(base, components[0], components[1], "resolve", "main", components[2])
}

// transientError is a failure that a later attempt may not meet.
type transientError struct{ err error }

func (e *transientError) Error() string { return e.err.Error() }
func (e *transientError) Unwrap() error { return e.err }

func transientf(format string, args ...any) error {
	return &transientError{fmt.Errorf(format, args...)}
}

// classify tells failures of a request that are worth a retry from those that
// another attempt would meet again.
func classify(err error) error {
	var (
		redirect *redirectError
		cert     *tls.CertificateVerificationError
		dns      *net.DNSError
	)
	// The query of a URL may be a signature and stays out of messages.
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err
		if u, parseErr := url.Parse(failed.URL); parseErr == nil {
			err = fmt.Errorf("%s: %w", shortURL(u), err)
		}
	}
	if errors.As(err, &redirect) || errors.As(err, &cert) || errors.As(err, &dns) && dns.IsNotFound {
		return err
	}
	return &transientError{err}
}

// statusError names an answer that is not the file.
func statusError(resp *http.Response) error {
	where := shortURL(resp.Request.URL)
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s answered %s; a model behind a login must be downloaded by other means and given as a path", where, resp.Status)
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return transientf("%s answered %s", where, resp.Status)
	}
	return fmt.Errorf("%s answered %s", where, resp.Status)
}
