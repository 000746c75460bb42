package daemon

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"edged/ipc"
)

// Limits of a token, in bytes. 32 hexadecimal digits are 128 bits.
const minToken, maxToken = 32, 512

// maxTCPNames is the most hosts, and the most pages.
const maxTCPNames = 64

// hostName is what tcp.hosts may list: no port and no path.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})$`)

// tcp refuses every way to serve the API over TCP that would let others in.
func (k *checker) tcp(c TCP) {
	if c.Listen != "" {
		if a, err := netip.ParseAddrPort(c.Listen); err != nil {
			k.addf("tcp.listen", `must be an address and a port such as "127.0.0.1:8080" or "[::1]:8080", got %q`, c.Listen)
		} else if !a.Addr().IsLoopback() && !c.AllowRemote {
			k.addf("tcp.listen", "must be a loopback address unless tcp.allow_remote is true, got %q: the token and all text would cross the network unencrypted", c.Listen)
		}
		if c.TokenFile == "" && c.TokenCredential == "" {
			k.addf("tcp.listen", "needs tcp.token_file or tcp.token_credential: without a token, every user and program of this machine could use the daemon")
		}
	}
	if c.TokenFile != "" && c.TokenCredential != "" {
		k.addf("tcp.token_file", "and tcp.token_credential exclude each other")
	}
	if strings.ContainsRune(c.TokenFile, 0) {
		k.addf("tcp.token_file", "must not contain a NUL byte")
	}
	if c.TokenCredential != "" && !credentialName.MatchString(c.TokenCredential) {
		k.addf("tcp.token_credential", "must be the name of a credential: 1 to 255 letters, digits or . _ -, not beginning with a dot, got %q", c.TokenCredential)
	}
	k.between("the number of tcp.hosts", len(c.Hosts), 0, maxTCPNames)
	k.between("the number of tcp.origins", len(c.Origins), 0, maxTCPNames)
	for _, h := range c.Hosts {
		if _, err := netip.ParseAddr(h); err != nil && !hostName.MatchString(h) {
			k.addf("tcp.hosts", "must list names or addresses without a port, got %q", h)
		}
	}
	for _, o := range c.Origins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != o {
			k.addf("tcp.origins", `must list pages as "https://host" or "http://host:port", got %q`, o)
		}
	}
}

// serves says whether anything is served over TCP.
func (c TCP) serves() bool { return c.TokenFile != "" || c.TokenCredential != "" }

// access reads the token and says who may ask; nil when nothing is served.
func (c TCP) access(credentials string) (*ipc.TCP, error) {
	if !c.serves() {
		return nil, nil
	}
	file, key := c.TokenFile, "tcp.token_file"
	if c.TokenCredential != "" {
		if key = "tcp.token_credential"; credentials == "" {
			return nil, &ConfigError{fmt.Errorf("read %s: no credentials were passed ($CREDENTIALS_DIRECTORY is not set); the unit needs LoadCredential=%s", key, c.TokenCredential)}
		}
		file = filepath.Join(credentials, c.TokenCredential)
	}
	token, err := readToken(file)
	if err != nil {
		return nil, &ConfigError{fmt.Errorf("read %s: %w", key, err)}
	}
	return &ipc.TCP{Token: token, Hosts: c.Hosts, Origins: c.Origins, UID: uint32(os.Geteuid())}, nil
}

// readToken reads a secret that nobody else can read.
func readToken(file string) (string, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe must not stop the start
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a file", file)
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("%s has mode %04o, others could read or change it; `chmod 0600 %s`", file, info.Mode().Perm(), file)
	case owner != 0 && owner != uint32(os.Geteuid()):
		return "", fmt.Errorf("%s belongs to user id %d, who could change it; it must belong to user id %d or to root", file, owner, os.Geteuid())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxToken+3))
	if err != nil {
		return "", err
	}
	token := strings.TrimRight(string(b), "\r\n")
	if len(token) < minToken || len(token) > maxToken {
		return "", fmt.Errorf("%s must hold a token of %d to %d bytes, it has %d; `openssl rand -hex 32` makes one", file, minToken, maxToken, len(token))
	}
	for i, c := range []byte(token) {
		if c <= ' ' || c > '~' {
			return "", fmt.Errorf("%s must hold a token of printable ASCII without spaces, byte %d is %#02x", file, i, c)
		}
	}
	return token, nil
}

// listenTCP adds the configured address to the listeners.
func listenTCP(c TCP, ls []net.Listener) ([]net.Listener, error) {
	for _, l := range ls {
		if err := c.permits(l.Addr()); err != nil {
			closeAll(ls)
			return nil, fmt.Errorf("take over sockets of the service manager: %w", err)
		}
	}
	if c.Listen == "" {
		return ls, nil
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		closeAll(ls)
		return nil, fmt.Errorf("open tcp.listen: %w", err)
	}
	return append(ls, l), nil
}

// permits refuses an inherited TCP socket that the configuration does not ask for.
func (c TCP) permits(addr net.Addr) error {
	a, ok := addr.(*net.TCPAddr)
	switch {
	case !ok:
		return nil
	case !c.serves():
		return &ConfigError{fmt.Errorf("%s is a TCP socket, but neither tcp.token_file nor tcp.token_credential is set: without a token, everybody could use the daemon", addr)}
	case !a.IP.IsLoopback() && !c.AllowRemote:
		return &ConfigError{fmt.Errorf("%s is not a loopback address, and tcp.allow_remote is false", addr)}
	}
	return nil
}

// serve serves a listener as what it is.
func (d *service) serve(l net.Listener) error {
	if _, ok := l.Addr().(*net.TCPAddr); !ok {
		return d.server.Serve(l)
	}
	if d.tcp == nil {
		return errors.Join(fmt.Errorf("serve %s: there is no token", l.Addr()), l.Close())
	}
	return d.server.ServeTCP(l, *d.tcp)
}
