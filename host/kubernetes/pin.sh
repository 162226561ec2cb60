#!/bin/sh
# Writes go.mod and go.sum for one version of Kubernetes: pin.sh VERSION FOLDER
#
# `pin.sh v1.36.4 .` moves this module to another default; build.sh uses it for all other versions.
set -eu

version=${1:?usage: pin.sh VERSION FOLDER}
folder=${2:?usage: pin.sh VERSION FOLDER}
module=$(cd "$(dirname "$0")" && pwd)
staging=v0.${version#v1.}

upstream=$(cd / && GOFLAGS='' go mod download -json "k8s.io/kubernetes@$version" |
    sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
pinned=$(mktemp)
trap 'rm -f "$pinned"' EXIT

# The direct requirements as they are, at the wanted version.
sed -e '/\/\/ indirect$/d' -e '/^replace/,/^)/d' \
    -e "s|\(k8s.io/kubernetes\) v.*|\1 $version|" \
    -e "s|\(k8s.io/component-base\) v.*|\1 $staging|" "$module/go.mod" >"$pinned"

# Kubernetes names its own modules by their folders in its repository, which exist nowhere else; and the libraries of
# its project stay at what this version was tested with, also where kine and CoreDNS ask for newer ones. Only
# k8s.io/utils of 2025 does not stay: it lacks a package that etcd needs.
{
    echo 'replace ('
    sed -n "s|^\t\(k8s.io/[^ ]*\) => ./staging/.*|\t\1 => \1 $staging|p" "$upstream"
    sed -n -e '/ v0\.0\.0$/d' -e '/k8s.io\/utils v0\.0\.0-2025/d' -e 's|^\t\(\(sigs\.\)\{0,1\}k8s.io/[^ ]*\) \(v[^ ]*\).*|\t\1 => \1 \3|p' "$upstream"
    echo ')'
} >>"$pinned"

cp "$pinned" "$folder/go.mod"
cd "$folder" && GOFLAGS='' go mod tidy
