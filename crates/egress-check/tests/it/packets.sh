# shellcheck shell=bash
# A router between an agent, another pod and the rest of the world, in namespaces that end with this script. Prints what the agent and what the
# other found. $FILTER: ranges that the router drops where they come from the agent.
set -Eeuo pipefail
mount -t tmpfs tmpfs /run
sysctl --quiet --write net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip link set lo up

# A namespace $1 whose addresses in the network of number $2 are .2 and ::2.
attach() {
    ip netns add "$1"
    ip link add "$1" type veth peer name eth0 netns "$1"
    ip address add "10.200.$2.1/24" dev "$1"
    ip address add "fd00:200:$2::1/64" dev "$1" nodad
    ip link set "$1" up
    ip -netns "$1" link set lo up
    ip -netns "$1" address add "10.200.$2.2/24" dev eth0
    ip -netns "$1" address add "fd00:200:$2::2/64" dev eth0 nodad
    ip -netns "$1" link set eth0 up
    ip -netns "$1" route add default via "10.200.$2.1"
    ip -netns "$1" route add default via "fd00:200:$2::1"
}
attach agent 1
attach other 2
attach world 3
for address in $ADDRESSES; do
    case $address in
        *:*)
            ip -netns world address add "$address/128" dev lo nodad
            ip route add "$address/128" via fd00:200:3::2
            ;;
        *)
            ip -netns world address add "$address/32" dev lo
            ip route add "$address/32" via 10.200.3.2
            ;;
    esac
done
for range in $FILTER; do
    family=-4
    [[ $range != *:* ]] || family=-6
    ip "$family" route add blackhole "$range" table 100
done
for family in -4 -6; do
    ip "$family" rule add iif agent lookup 100
done

# Until the kernel has made sure that nobody else has a link-local address, nothing can be asked from it.
until [[ -z $(ip -6 address show tentative)$(ip -all netns exec ip -6 address show tentative | grep inet6) ]]; do sleep 0.05; done

for place in agent world; do
    ip netns exec "$place" "$EGRESS_CHECK" listen 8080 2>/dev/null &
done
for place in 127.0.0.1 ::1; do
    until ip netns exec world bash -c "exec 3<>/dev/tcp/$place/8080" 2>/dev/null; do sleep 0.05; done
done
until ip netns exec agent bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080' 2>/dev/null; do sleep 0.05; done

targets=()
for address in $ADDRESSES; do
    name=private
    case $address in
        203.0.113.* | 2001:db8:*) name=public ;;
        10.1.*) name=neighbour-pod ;;
        10.96.*) name=api-server ;;
    esac
    [[ $address != *:* ]] || address="[$address]"
    targets+=("--connect=$name=$address:8080")
done
targets+=("--limit=2s" "--resolve=names=localhost" "--connect=nobody=203.0.113.77:8080" "--connect=closed=203.0.113.10:9")
ip netns exec agent "$EGRESS_CHECK" probe "${targets[@]}" --report "$REPORT"
ip netns exec other "$EGRESS_CHECK" probe "${targets[@]}" --connect=agent-pod=10.200.1.2:8080
