package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// parentVariable names the process this one must not outlive; the test harness sets it.
const parentVariable = "WEFT_PARENT_PID"

// The kernel keeps the wish for each thread, and only the main thread lives as long as the process.
func init() {
	runtime.LockOSThread()
	if err := dieWithParent(); err != nil {
		fmt.Fprintln(os.Stderr, "planes:", err)
		os.Exit(1)
	}
}

// dieWithParent has the kernel kill this process the moment its parent is gone, however that ended.
func dieWithParent() error {
	text, found := os.LookupEnv(parentVariable)
	if !found {
		return nil
	}
	parent, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%s=%q is not a process id", parentVariable, text)
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("failed to tie this process to its parent: %w", err)
	}
	if os.Getppid() != parent { // it ended before the kernel knew
		return fmt.Errorf("parent process %d is gone", parent)
	}
	return nil
}

// runProgram replaces this process by another program, which then dies with the parent as well:
// the kernel keeps the wish of the thread that calls exec.
func runProgram(arguments []string) int {
	if len(arguments) == 0 {
		fmt.Fprintln(os.Stderr, "usage: planes run PROGRAM [argument…]")
		return 2
	}
	program, err := exec.LookPath(arguments[0])
	if err == nil {
		os.Unsetenv(parentVariable)
		err = syscall.Exec(program, arguments, os.Environ())
	}
	fmt.Fprintf(os.Stderr, "planes: failed to run %s: %v\n", arguments[0], err)
	return 127
}
