package cpu

import (
	"testing"
	"testing/fstest"
)

func TestOwnL2(t *testing.T) {
	for _, c := range []struct {
		size, shared string
		want         int64
	}{
		{"2048K\n", "0\n", 2 << 20},
		{"2048K\n", "0-1\n", 1 << 20},
		{"512K\n", "0,64\n", 256 << 10},
		{"4096K\n", "0-1,64-65\n", 1 << 20},
		{"1024K\n", "\n", 0},
		{"1024K\n", "1-0\n", 0},
		{"1024K\n", "0-x\n", 0},
		{"many\n", "0\n", 0},
		{"-1K\n", "0\n", 0},
	} {
		const dir = "devices/system/cpu/cpu0/cache/index2/"
		sysfs := fstest.MapFS{dir + "size": {Data: []byte(c.size)}, dir + "shared_cpu_list": {Data: []byte(c.shared)}}
		if got := ownL2(sysfs); got != c.want {
			t.Errorf("size %q shared by %q: %d bytes, want %d", c.size, c.shared, got, c.want)
		}
	}
	if got := ownL2(fstest.MapFS{}); got != 0 {
		t.Errorf("without a description: %d bytes, want 0", got)
	}
}
