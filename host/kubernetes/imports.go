// What the Kubernetes commands need only for the effect of its import, as in the upstream main functions.

package main

import (
	_ "time/tzdata" // time zones of CronJobs: the image has no zone database

	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)
