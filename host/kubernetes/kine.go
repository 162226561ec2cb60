// How kine, the SQL-backed store, is started.

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/k3s-io/kine/pkg/app"
	"github.com/k3s-io/kine/pkg/version"
)

// runKine does what kine's main function does; that one is in no importable package.
func runKine() int {
	version.Version = versionOf(moduleOfKine)
	// A canceled context is how kine reports that a signal ended it.
	if err := app.New().Run(os.Args); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "kine:", err)
		return 1
	}
	return 0
}
