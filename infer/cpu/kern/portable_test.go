package kern_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"edged/infer/cpu"
)

// compiler finds a C compiler or skips the test.
func compiler(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestCompilesWithoutWarnings checks the C files for both architectures, without
// generating code, which would take a minute.
// Variable-length arrays are warned about, because a model's shape must not
// decide how much stack a thread needs.
func TestCompilesWithoutWarnings(t *testing.T) {
	files, err := filepath.Glob("*.c")
	if err != nil || len(files) == 0 {
		t.Fatalf("C files: %v, %v", files, err)
	}
	for _, cc := range []string{"gcc", "aarch64-linux-gnu-gcc"} {
		t.Run(cc, func(t *testing.T) {
			path := compiler(t, cc)
			for _, f := range files {
				command(t, path, "-fsyntax-only", "-std=c11", "-Wall", "-Wextra", "-Wvla", "-Werror", "-Wno-psabi", f)
			}
		})
	}
}

// TestExpIsWithinItsBound holds vf_exp to the error that its comment states,
// over a thousandth of all floats that it distinguishes.
func TestExpIsWithinItsBound(t *testing.T) {
	const bound = 1.25 // ulp
	for _, c := range []struct {
		isa, cc, header string
		flags, run      []string
	}{
		{isa: "avx512-vnni", cc: "gcc", header: "avx512", flags: []string{"-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni", "-mavx2", "-mfma", "-mf16c"}},
		{isa: "avx2", cc: "gcc", header: "avx2", flags: []string{"-mavx2", "-mfma", "-mf16c"}},
		{isa: "generic", cc: "gcc", header: "generic"},
		{cc: "aarch64-linux-gnu-gcc", header: "generic", flags: []string{"-static"}, run: []string{"qemu-aarch64-static"}},
	} {
		t.Run(c.cc+"/"+c.header, func(t *testing.T) {
			if c.isa != "" && !slices.Contains(cpu.ISAs(), c.isa) {
				t.Skipf("this processor lacks %s", c.isa)
			}
			run := c.run
			if len(run) > 0 {
				run = []string{compiler(t, run[0])}
			}
			bin := filepath.Join(t.TempDir(), "exp")
			args := append([]string{"-O2", "-std=c11", "-Wno-psabi", "-DSTEP=1009", `-DSIMD="../simd_` + c.header + `.h"`}, c.flags...)
			command(t, compiler(t, c.cc), append(args, "testdata/exp.c", "-o", bin, "-lm")...)
			run = append(run, bin)
			out := strings.TrimSpace(command(t, run[0], run[1:]...))
			if worst, err := strconv.ParseFloat(out, 64); err != nil || !(worst <= bound) {
				t.Errorf("largest error is %q ulp, bound %g", out, bound)
			} else {
				t.Logf("largest error %g ulp", worst)
			}
		})
	}
}
