package main

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

// runEtcd serves one etcd member without TLS on loopback until SIGTERM or SIGINT.
//
// The data is thrown away with the test, so nothing is synced to disk: what is measured should be
// the API servers, not the disk.
func runEtcd() int {
	client := flag.String("client-url", "", "URL to serve clients on, e.g. http://127.0.0.1:2379")
	peer := flag.String("peer-url", "", "URL to serve peers on")
	dir := flag.String("data-dir", "", "folder of the data")
	flag.Parse()

	config, err := etcdConfig(*client, *peer, *dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		return 2
	}
	server, err := embed.StartEtcd(config)
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd: failed to start:", err)
		return 1
	}
	defer server.Close()

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	select {
	case <-stop:
		return 0
	case err := <-server.Err():
		fmt.Fprintln(os.Stderr, "etcd: stopped:", err)
		return 1
	}
}

func etcdConfig(client, peer, dir string) (*embed.Config, error) {
	clientURL, err := url.Parse(client)
	if err != nil || client == "" {
		return nil, fmt.Errorf("--client-url %q is not a URL", client)
	}
	peerURL, err := url.Parse(peer)
	if err != nil || peer == "" {
		return nil, fmt.Errorf("--peer-url %q is not a URL", peer)
	}
	if dir == "" {
		return nil, fmt.Errorf("--data-dir is missing")
	}
	config := embed.NewConfig()
	config.Dir = dir
	config.ListenClientUrls = []url.URL{*clientURL}
	config.AdvertiseClientUrls = []url.URL{*clientURL}
	config.ListenPeerUrls = []url.URL{*peerURL}
	config.AdvertisePeerUrls = []url.URL{*peerURL}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.QuotaBackendBytes = 4 << 30
	config.UnsafeNoFsync = true
	config.LogLevel = "warn"
	return config, nil
}
