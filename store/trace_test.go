package store

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// sysop is one system call that changes files, or makes changes durable, as
// the kernel was asked: strace records SQLite's calls with our own.
type sysop struct {
	call string
	path string // file or folder; of write: the file's
	to   string // rename
	data []byte // write
	off  int64  // write at; -1: where the file ends. truncate to
}

// straceArgs make strace write what parseTrace reads.
var straceArgs = []string{"-f", "-y", "-xx", "-s", "100000000", "-e", "signal=none", "-e",
	"trace=open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,copy_file_range,ftruncate,truncate,fallocate,fsync,fdatasync,sync_file_range,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat"}

// parseTrace reads a trace. Calls below root that it does not know how to
// replay are errors: nothing is left out.
func parseTrace(r io.Reader, root string) ([]sysop, error) {
	var ops []sysop
	open := map[string]string{} // unfinished calls by thread
	lines := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return ops, nil
		}
		if err != nil {
			return nil, err
		}
		pid, call, _ := strings.Cut(strings.TrimSpace(line), " ")
		call = strings.TrimSpace(call)
		if begun, ok := strings.CutSuffix(call, "<unfinished ...>"); ok {
			open[pid] = begun
			continue
		}
		if strings.HasPrefix(call, "<...") {
			_, rest, _ := strings.Cut(call, "resumed>")
			call = open[pid] + rest
			delete(open, pid)
		}
		op, ok, err := parseCall(call, root)
		if err != nil {
			return nil, fmt.Errorf("%w: %.300s", err, call)
		}
		if ok {
			ops = append(ops, op)
		}
	}
}

// callEnd stands between a call and its result; calls that were interrupted by
// another thread's are padded.
var callEnd = regexp.MustCompile(`\)\s+= `)

// parseCall reads one call; ok is false for calls that failed or change nothing.
func parseCall(call, root string) (op sysop, ok bool, err error) {
	name, rest, found := strings.Cut(call, "(")
	if strings.HasPrefix(call, "+++") { // a thread or the process has ended
		return sysop{}, false, nil
	}
	end := callEnd.FindStringIndex(rest)
	if !found || end == nil {
		return sysop{}, false, fmt.Errorf("cannot read the trace")
	}
	result := rest[end[1]:]
	if strings.HasPrefix(result, "-1") || strings.HasPrefix(result, "?") {
		return sysop{}, false, nil
	}
	args := splitArgs(rest[:end[0]])
	op = sysop{call: name, off: -1}
	switch name {
	case "openat":
		if !strings.Contains(args[2], "O_CREAT") {
			return sysop{}, false, nil
		}
		op.call, op.path = "create", at(args[0], args[1])
	case "write":
		op.path, op.data = fd(args[0]), []byte(text(args[1]))
	case "pwrite64":
		op.call, op.path, op.data = "write", fd(args[0]), []byte(text(args[1]))
		op.off, err = strconv.ParseInt(args[3], 10, 64)
	case "ftruncate":
		op.path = fd(args[0])
		op.off, err = strconv.ParseInt(args[1], 10, 64)
	case "fsync", "fdatasync":
		op.call, op.path = "fsync", fd(args[0])
	case "rename":
		op.path, op.to = text(args[0]), text(args[1])
	case "renameat", "renameat2":
		op.call, op.path, op.to = "rename", at(args[0], args[1]), at(args[2], args[3])
	case "unlink":
		op.path = text(args[0])
	case "unlinkat":
		op.call, op.path = "unlink", at(args[0], args[1])
	case "fallocate":
		if args[1] != "FALLOC_FL_KEEP_SIZE" { // which changes nothing that can be read
			return op, false, fmt.Errorf("cannot replay %s with %s", name, args[1])
		}
		return sysop{}, false, nil
	case "mkdir":
		op.path = text(args[0])
	case "mkdirat":
		op.call, op.path = "mkdir", at(args[0], args[1])
	default:
		if strings.Contains(unescape(call), root) {
			return op, false, fmt.Errorf("cannot replay %s", name)
		}
		return sysop{}, false, nil
	}
	if op.call == "write" && strings.TrimSpace(result) != strconv.Itoa(len(op.data)) {
		return op, false, fmt.Errorf("wrote %s of %d bytes", result, len(op.data))
	}
	stdout := op.call == "write" && strings.HasPrefix(args[0], "1<")
	if stdout {
		op.call, op.path = "say", ""
	}
	return op, stdout || strings.HasPrefix(op.path, root), err
}

// splitArgs splits at commas: strings are hexadecimal and hold none.
func splitArgs(s string) []string {
	args := strings.Split(s, ",")
	for i := range args {
		args[i] = strings.TrimSpace(args[i])
	}
	return args
}

// fd is the path in 3<path>.
func fd(arg string) string {
	_, p, _ := strings.Cut(arg, "<")
	return unescape(strings.TrimSuffix(p, ">"))
}

// at joins a folder's descriptor and a name.
func at(dir, name string) string {
	if p := text(name); path.IsAbs(p) {
		return p
	}
	return path.Join(fd(dir), text(name))
}

// text is a quoted string.
func text(arg string) string { return unescape(strings.Trim(arg, `"`)) }

// unescape decodes \xHH.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		if strings.HasPrefix(s[i:], `\x`) && i+4 <= len(s) {
			if v, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(v))
				i += 4
				continue
			}
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}
