# Prepares the file system and the network of a machine, in its own namespaces.
# NAME, DIR, ADDRESS, PREFIX and SERVICES are set before it.

mount --make-rshared /
for part in etc opt var; do
    mkdir -p "$DIR/$part/upper" "$DIR/$part/work"
    mount -t overlay overlay -o "lowerdir=/$part,upperdir=$DIR/$part/upper,workdir=$DIR/$part/work" "/$part"
done
mount -t tmpfs tmpfs /run
mkdir -p /run/lock

# Images are layers of an overlay themselves, which cannot lie on another one; the kubelet's folder has many mounts.
for part in containerd kubelet volumes; do
    mkdir -p "$DIR/$part" "/var/lib/$part"
    mount --bind "$DIR/$part" "/var/lib/$part"
done

# The kubelet sets these for all of the kernel. Here it finds what it wants and writes nothing.
mkdir -p /run/sysctl
while read -r name value; do
    echo "$value" > "/run/sysctl/$(echo "$name" | tr / .)"
    mount --bind "/run/sysctl/$(echo "$name" | tr / .)" "/proc/sys/$name"
done <<VALUES
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
VALUES

hostname "$NAME"
rm -f /etc/resolv.conf /etc/hosts
# Nobody answers there, and says so at once.
printf 'search node.test\nnameserver %s\n' "$ADDRESS" > /etc/resolv.conf
printf '127.0.0.1 localhost\n%s %s\n' "$ADDRESS" "$NAME" > /etc/hosts

ip link set lo up
ip address add "$ADDRESS/$PREFIX" dev node0
ip link set node0 up
# Without a default route nothing leaves the machine. Addresses of Services need one to be looked up,
# before they are replaced by those of pods.
ip route add "$SERVICES" dev node0
echo 1 > /proc/sys/net/ipv4/ip_forward
for name in /proc/sys/net/bridge/bridge-nf-call-iptables; do
    [ ! -e "$name" ] || echo 1 > "$name"
done
