// Which versions of the components this binary holds.

package main

import (
	"fmt"
	"runtime/debug"
)

// printVersions prints one line for each component: its name and its version.
func printVersions() int {
	for _, component := range components {
		fmt.Println(component.name, versionOf(component.module))
	}
	return 0
}

// versionOf reads the version of a module from what the Go linker recorded.
func versionOf(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if dependency.Path == module {
				return dependency.Version
			}
		}
	}
	return "unknown"
}
