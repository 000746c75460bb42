package daemon

import (
	"path/filepath"
	"testing"
)

func TestReadHostMemory(t *testing.T) {
	h, err := readHostMemory()
	if err != nil {
		t.Fatal(err)
	}
	if h.Available <= 0 || h.Total < h.Available || h.Lockable < 0 || h.Lockable > h.Available {
		t.Errorf("available %d of %d bytes, %d to lock", h.Available, h.Total, h.Lockable)
	}
}

func TestCgroupRoom(t *testing.T) {
	root := t.TempDir()
	write := func(group, file, text string) { writeFile(t, filepath.Join(root, group, file), text) }
	self := writeFile(t, filepath.Join(root, "self"), "1:name=systemd:/other\n0::/a/b\n")

	if _, limited, err := cgroupRoom(self, root); limited || err != nil {
		t.Errorf("without files: limited %v, %v", limited, err)
	}
	write("a/b", "memory.max", "max\n")
	write("a/b", "memory.current", "10\n")
	if _, limited, err := cgroupRoom(self, root); limited || err != nil {
		t.Errorf("with no limit: limited %v, %v", limited, err)
	}
	write("a", "memory.max", "1000\n")
	write("a", "memory.current", "900\n")
	write("a", "memory.stat", "anon 500\ninactive_file 30\nactive_file 20\nfile 400\n")
	if room, limited, err := cgroupRoom(self, root); !limited || room != 150 || err != nil {
		t.Errorf("limit of the parent: %d, %v, %v", room, limited, err)
	}
	write("a/b", "memory.max", "15\n")
	if room, limited, err := cgroupRoom(self, root); !limited || room != 5 || err != nil {
		t.Errorf("tighter limit below: %d, %v, %v", room, limited, err)
	}
	write("a/b", "memory.current", "40\n")
	if room, limited, err := cgroupRoom(self, root); !limited || room != 0 || err != nil {
		t.Errorf("over the limit: %d, %v, %v", room, limited, err)
	}
	if _, limited, err := cgroupRoom(filepath.Join(root, "none"), root); limited || err != nil {
		t.Errorf("without control groups: limited %v, %v", limited, err)
	}
}
