package driver_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"edged/cudakern/driver"
)

// open gives the first device, or skips the test where there is none;
// EDGED_REQUIRE_CUDA=1 turns that into a failure.
func open(t *testing.T) *driver.Device {
	t.Helper()
	d, err := driver.Open(0)
	if errors.Is(err, driver.ErrNoDriver) && os.Getenv("EDGED_REQUIRE_CUDA") != "1" {
		t.Skipf("this test needs a GPU: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// TestMissing: a machine without a driver or device says what is missing.
func TestMissing(t *testing.T) {
	_, n, err := driver.Version()
	if err == nil && n > 0 {
		if _, err := driver.Open(n); !errors.Is(err, driver.ErrNoDriver) {
			t.Errorf("open device %d of %d: error is %v, want ErrNoDriver", n, n, err)
		}
		return
	}
	_, err = driver.Open(0)
	if !errors.Is(err, driver.ErrNoDriver) {
		t.Fatalf("error is %v, want ErrNoDriver", err)
	}
	if !strings.Contains(err.Error(), "libcuda.so.1") && !strings.Contains(err.Error(), "cuInit") && !strings.Contains(err.Error(), "devices") {
		t.Errorf("error %q does not say what is missing", err)
	}
}

func TestErrorsAre(t *testing.T) {
	for _, c := range []struct {
		code int
		want error
	}{{2, driver.ErrOutOfMemory}, {222, driver.ErrTooNew}, {700, driver.ErrLost}, {719, driver.ErrLost}, {100, driver.ErrNoDriver}} {
		err := error(&driver.Error{Code: c.code})
		for _, s := range []error{driver.ErrOutOfMemory, driver.ErrTooNew, driver.ErrLost, driver.ErrNoDriver} {
			if errors.Is(err, s) != (s == c.want) {
				t.Errorf("code %d is %v: %v", c.code, s, errors.Is(err, s))
			}
		}
	}
}

const addOne = `.version 7.0
.target sm_80
.address_size 64
.visible .entry add_one(.param .u64 p, .param .u32 n) {
  .reg .pred q; .reg .b32 %r<6>; .reg .b64 %d<4>;
  ld.param.u64 %d0, [p]; ld.param.u32 %r0, [n];
  mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;
  mad.lo.u32 %r1, %r1, %r2, %r3;
  setp.ge.u32 q, %r1, %r0;
  @q ret;
  cvta.to.global.u64 %d0, %d0; mul.wide.u32 %d1, %r1, 4; add.u64 %d0, %d0, %d1;
  ld.global.u32 %r4, [%d0]; add.u32 %r4, %r4, 1; st.global.u32 [%d0], %r4;
  ret;
}`

// TestLists runs a kernel over memory of every kind, directly and as a graph.
func TestLists(t *testing.T) {
	d := open(t)
	t.Logf("%+v", d.Info)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := d.NewStream()
	must(err)
	m, err := d.Load([]byte(addOne))
	must(err)
	f, err := d.Function(m, "add_one", 0)
	must(err)
	const n = 1000
	dev, err := d.Alloc(4 * n)
	must(err)
	host, err := d.AllocHost(4 * n)
	must(err)
	for i := range host {
		host[i] = byte(i % 4 / 3) // no zeros only
	}
	want := bytes.Clone(host)
	for i := 0; i < len(want); i += 4 {
		want[i] += 3
	}
	add := func(p driver.Ptr) driver.Launch {
		args := make([]byte, 12)
		for i := range 8 {
			args[i] = byte(p >> (8 * i))
		}
		args[8], args[9] = n%256, n/256
		return driver.Launch{Function: f, Name: "add_one", Grid: driver.Dim{X: 4}, Block: driver.Dim{X: 256}, Args: args}
	}
	var l driver.List
	l.Reset(s)
	l.Launch(add(dev))
	g, err := d.Capture(&l)
	must(err)
	l.Reset(s)
	l.CopyTo(dev, host)
	l.Graph(g)
	l.Graph(g)
	l.Launch(add(dev))
	l.CopyFrom(host, dev)
	must(d.Submit(&l))
	must(d.WaitStream(s))
	if !bytes.Equal(host, want) {
		t.Errorf("device gave %v..., want %v...", host[:16], want[:16])
	}
	managed, err := d.AllocManaged(4 * n)
	must(err)
	copy(managed, want)
	l.Reset(s)
	l.Launch(add(driver.Address(managed)))
	must(d.Submit(&l))
	must(d.WaitStream(s))
	if managed[0] != want[0]+1 {
		t.Errorf("managed memory holds %d, want %d", managed[0], want[0]+1)
	}
	must(errors.Join(d.FreeManaged(managed), d.FreeGraph(g), d.FreeHost(host), d.Free(dev), d.Unload(m), d.FreeStream(s)))
	if _, err := d.Alloc(1 << 50); !errors.Is(err, driver.ErrOutOfMemory) {
		t.Errorf("allocating 1 PiB: error is %v, want ErrOutOfMemory", err)
	}
}
