// Command kubernetes is the control plane of a virtual cluster in one static binary:
//
//	kubernetes COMPONENT [flags]
//	kubernetes version
//
// Every component is the upstream program with the upstream flags; a symbolic link with the name of
// a component starts that one. One link instead of six keeps the image small and lets the processes
// share pages. Exactly one component is constructed in a process: the Kubernetes commands install
// process-wide signal handlers and feature gates at construction.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	os.Exit(run(os.Args))
}

func run(arguments []string) int {
	if component := find(filepath.Base(arguments[0])); component != nil {
		return component.run(arguments)
	}
	if len(arguments) < 2 {
		fmt.Fprintln(os.Stderr, usage())
		return 2
	}
	switch name := arguments[1]; name {
	case "version", "--version":
		return printVersions()
	case "help", "--help", "-h":
		fmt.Println(usage())
		return 0
	default:
		if component := find(name); component != nil {
			return component.run(arguments[1:])
		}
		fmt.Fprintf(os.Stderr, "kubernetes: unknown component %q\n%s\n", name, usage())
		return 2
	}
}

func usage() string {
	names := make([]string, 0, len(components))
	for _, component := range components {
		names = append(names, component.name)
	}
	return "usage: kubernetes COMPONENT [flags]\n       kubernetes version\ncomponents: " + strings.Join(names, ", ")
}
