package ipc

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// refuseTimeout bounds the life of a connection that is only told why it is refused.
const refuseTimeout = 2 * time.Second

// maxRefusals bounds how many such connections there are at a time.
const maxRefusals = 16

// gate decides which connections reach the HTTP server. It is one per server,
// so that its limits hold over all listeners.
type gate struct {
	log   *slog.Logger
	uids  atomic.Pointer[[]uint32] // allowed besides root and this process's own
	group atomic.Pointer[uint32]   // members of which are allowed; nil = none
	peer  func(net.Conn) (peer, error)

	slots    chan struct{} // capacity: connections served at a time
	tcpSlots chan struct{} // the same for TCP
	refusals chan struct{}
	wg       sync.WaitGroup // refusals in flight
}

// gatedListener passes on the connections that the gate lets through.
type gatedListener struct {
	net.Listener
	gate *gate
	tcp  *TCP // nil: the kernel says who connects
}

func (l gatedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if served := l.gate.admit(c, l.tcp); served != nil {
			return served, nil
		}
	}
}

// admit returns c with a slot held, or nil when c is refused and disposed of.
func (g *gate) admit(c net.Conn, t *TCP) net.Conn {
	if t != nil { // the token will tell
		return g.give(c, g.tcpSlots, peer{uid: t.UID, client: "tcp", tcp: t})
	}
	p, err := g.peer(c)
	if err != nil {
		g.log.Error("ipc: read peer credentials", "err", err)
		c.Close()
		return nil
	}
	if !g.allowed(p) {
		g.log.Warn("ipc: peer refused", "uid", p.uid)
		g.refuse(c, failure{
			status: http.StatusForbidden, kind: typePermission, code: "uid_not_allowed",
			message: fmt.Sprintf("user id %d may not use this daemon, which runs as user id %d", p.uid, os.Geteuid()),
		})
		return nil
	}
	return g.give(c, g.slots, p)
}

// give lets a connection in while there is a slot.
func (g *gate) give(c net.Conn, slots chan struct{}, p peer) net.Conn {
	select {
	case slots <- struct{}{}:
		return &slotConn{Conn: c, peer: &p, release: sync.OnceFunc(func() { <-slots })}
	default:
		g.refuse(c, failure{
			status: http.StatusServiceUnavailable, kind: typeUnavailable, code: "too_many_connections", retryAfter: time.Second,
			message: fmt.Sprintf("the daemon serves %d connections, which is its limit", cap(slots)),
		})
		return nil
	}
}

func (g *gate) allowed(p peer) bool {
	if group := g.group.Load(); group != nil && p.in(*group) {
		return true
	}
	return p.uid == 0 || p.uid == uint32(os.Geteuid()) || slices.Contains(*g.uids.Load(), p.uid)
}

// refuse answers one request with f, without a slot and without delay.
func (g *gate) refuse(c net.Conn, f failure) {
	select {
	case g.refusals <- struct{}{}:
	default:
		c.Close()
		return
	}
	g.wg.Go(func() {
		defer func() { <-g.refusals }()
		defer c.Close()
		c.SetDeadline(time.Now().Add(refuseTimeout))
		// Read the request's header first: clients that are still writing it
		// when the connection closes report that instead of our answer.
		http.ReadRequest(bufio.NewReader(io.LimitReader(c, maxHeaderBytes)))
		writeRefusal(c, f)
	})
}

func writeRefusal(w io.Writer, f failure) {
	body, err := json.Marshal(f.body())
	if err != nil {
		return // plain strings always marshal
	}
	h := http.Header{"Content-Type": {"application/json"}, "Connection": {"close"}}
	f.setHeaders(h)
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "HTTP/1.1 %d %s\r\nContent-Length: %d\r\n", f.status, http.StatusText(f.status), len(body))
	h.Write(out)
	out.WriteString("\r\n")
	out.Write(body)
	out.Flush() // the peer may be gone; there is nobody to tell
}

// slotConn gives its slot back when it is closed.
type slotConn struct {
	net.Conn
	peer    *peer
	release func()
}

// peerKey finds the peer in the context of its requests.
type peerKey struct{}

// withPeer remembers who has connected, for all requests of a connection.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, c.(*slotConn).peer) // all connections pass the gate
}

func peerIn(ctx context.Context) *peer { return ctx.Value(peerKey{}).(*peer) }

// peerOf is the user whose request it is.
func peerOf(ctx context.Context) uint32 { return peerIn(ctx).uid }

func (c *slotConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// CloseWrite lets net/http end an answer to a client that is still sending
// before it closes the connection, so that the client can read it.
func (c *slotConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
