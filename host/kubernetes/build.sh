#!/bin/sh
# Builds the control-plane binary, equal for equal sources: build.sh [--kubernetes VERSION] OUTPUT
set -eu

usage='usage: build.sh [--kubernetes VERSION] OUTPUT'
module=$(cd "$(dirname "$0")" && pwd)
default=$(awk '$1 == "k8s.io/kubernetes" && $2 ~ /^v/ { print $2 }' "$module/go.mod")

fail() {
    echo "build.sh: $1" >&2
    exit 2
}

version=$default
if [ "${1:-}" = --kubernetes ]; then
    [ $# -ge 2 ] || fail "$usage"
    version=v${2#v}
    shift 2
fi
case $version in
v1.*.*) ;;
*) fail "$version is not a version of Kubernetes, such as $default" ;;
esac
[ $# -eq 1 ] || fail "$usage"
case $1 in
-*) fail "$usage" ;;
/*) output=$1 ;;
*) output=$PWD/$1 ;;
esac

cd "$module"
if [ "$version" != "$default" ]; then
    other=$(mktemp -d)
    trap 'rm -rf "$other"' EXIT
    trap 'exit 130' INT TERM
    cp ./*.go "$other"
    ./pin.sh "$version" "$other"
    cd "$other"
fi

minor=${version#v1.}
stamp="gitVersion=$version gitMajor=1 gitMinor=${minor%%.*} gitTreeState=clean gitCommit="
# Without the ID of the build, which is of no use in a stripped binary.
flags='-s -w -buildid='
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    for assignment in $stamp; do
        flags="$flags -X $package.$assignment"
    done
done
CGO_ENABLED=0 GOFLAGS='' go build -v -mod=readonly -trimpath -buildvcs=false -ldflags "$flags" -o "$output" .
