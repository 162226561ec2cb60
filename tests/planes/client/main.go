// Command client is a pod's client of its API server, as programs with client-go are.
//
// It lists and watches the pods of its namespace with the token of its service account, and prints one line for each
// thing that it learns: what the lists have, what the watch shows, and which token its requests carry.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Between two lists. client-go reads a token again once it is a minute old.
const pause = time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	if len(os.Args) == 2 {
		return refusedBy(config, os.Args[1])
	}
	namespace, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return err
	}
	var seen atomic.Value
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return tokenPrinter{next: next, seen: &seen}
	})
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	watch(client, string(namespace))
	for {
		pods, err := client.CoreV1().Pods(string(namespace)).List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		fmt.Println("listed", len(pods.Items))
		time.Sleep(pause)
	}
}

// watch prints the name of every pod that the informer shows.
func watch(client kubernetes.Interface, namespace string) {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	pods := factory.Core().V1().Pods().Informer()
	_, _ = pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(pod any) { fmt.Println("watched", pod.(metav1.Object).GetName()) },
	})
	factory.Start(context.Background().Done())
}

// refusedBy fails unless another server does not know the token.
func refusedBy(config *rest.Config, server string) error {
	other := rest.AnonymousClientConfig(config)
	other.Host, other.BearerTokenFile = server, config.BearerTokenFile
	other.TLSClientConfig = rest.TLSClientConfig{Insecure: true}
	client, err := kubernetes.NewForConfig(other)
	if err != nil {
		return err
	}
	if _, err = client.Discovery().ServerVersion(); !apierrors.IsUnauthorized(err) {
		return fmt.Errorf("%s answers %v", server, err)
	}
	fmt.Println("refused:", err)
	return nil
}

// tokenPrinter prints the fingerprint of the token that a request carries, when it is another one than before.
type tokenPrinter struct {
	next http.RoundTripper
	seen *atomic.Value
}

func (p tokenPrinter) RoundTrip(request *http.Request) (*http.Response, error) {
	token := strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")
	if fingerprint := fmt.Sprintf("%x", sha256.Sum256([]byte(token)))[:16]; fingerprint != p.seen.Swap(fingerprint) {
		fmt.Println("token", fingerprint)
	}
	return p.next.RoundTrip(request)
}
