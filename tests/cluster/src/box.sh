# shellcheck shell=bash
# The first process of the box: makes the namespaces ready, then waits. The box ends when its stdin closes.
set -Eeuo pipefail
# Sockets and locks that lie at fixed places below /run are the box's own.
mount -t tmpfs tmpfs /run
ip link set lo up

if [[ $NODE == no ]]; then
    # An address that is none of loopback, for the API server to be known by.
    ip address add "$NODE_ADDRESS/24" dev lo
else
    # These two cannot be told to be elsewhere.
    for folder in /var/log /var/lib/cni; do
        mkdir -p "$STATE$folder" "$folder"
        mount --bind "$STATE$folder" "$folder"
    done
    findmnt --raw --noheadings --types cgroup,cgroup2 --output TARGET | while read -r hierarchy; do
        mkdir -p "$hierarchy/$CONTROL_GROUP"
    done
    sysctl --quiet --write net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    # The world: one more network behind the node, with addresses of every kind, and the only way out of the box.
    ip netns add world
    ip link add world type veth peer name node netns world
    ip address add "$NODE_ADDRESS/24" dev world
    ip address add fd00:210::1/64 dev world nodad
    ip link set world up
    ip -netns world link set lo up
    ip -netns world address add 10.210.0.2/24 dev node
    ip -netns world address add fd00:210::2/64 dev node nodad
    ip -netns world link set node up
    for address in $WORLD_ADDRESSES; do
        ip -netns world address add "$address" dev lo nodad
    done
    ip route add default via 10.210.0.2
    ip route add default via fd00:210::2
    for range in $POD_ADDRESSES; do
        if [[ $range == *:* ]]; then
            ip -netns world route add "$range" via fd00:210::1
        else
            ip -netns world route add "$range" via "$NODE_ADDRESS"
        fi
    done
fi
echo ready
cat >/dev/null
