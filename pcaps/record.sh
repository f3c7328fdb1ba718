#!/usr/bin/env bash
# Records the captures of this folder from real programs talking in network namespaces.
#
#   pcaps/record.sh             record every case
#   pcaps/record.sh CASE...     record these cases
#   pcaps/record.sh --list      name the cases
#
# Needs root and Linux with network namespaces, veth, bridge and TAP. Debian packages (a missing one is named):
#   iproute2 ethtool iputils-ping iputils-arping tcpdump tshark dnsmasq-base busybox bind9-dnsutils iperf3 iperf
#   openssh-server openssh-client curl openssl nginx-light swaks python3-aiosmtpd tgt libiscsi-bin nfs-ganesha
#   nfs-ganesha-vfs libnfs-utils ffmpeg
#
# Each case builds the same small network anew, all caches cold:
#
#      h1 eth0 ──── p1 ┐
#      h2 eth0 ──── p2 ├ bridge br0 in namespace sw      hN: 198.18.0.N, fd00:198:18::N, 02:00:00:00:01:0N
#      h3 eth0 ──── p3 ┘
#
# and records at p1, so that each frame appears once and in both directions. Offloads are off, so that the frames are
# what a wire would carry; wire_pad.py adds the padding of short frames. Nothing leaves the namespaces: no interface
# has a way out. A capture replaces the old one only after it has passed its checks. What is talked about is in cases.sh.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
net="pcaps-$$" # Prefix of the namespaces, unique to this run.
wait_tries_max=300
wait_step_s=0.05

# shellcheck source=pcaps/cases.sh
source "$here/cases.sh"

## The network ########################################################################################################

namespaces() { # The bridge and three hosts without links.
    local node
    for node in sw h1 h2 h3; do
        ip netns add "$net-$node"
        # A quiet link: IPv6 talks as soon as an interface is up, so only the cases about it turn it on.
        in_node "$node" sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
        in_node "$node" ip link set lo up
    done
    in_sw ip link add br0 address 02:00:00:00:01:fe type bridge stp_state 0 mcast_snooping 0
    in_sw ip link set br0 up
}

network() {
    namespaces
    local host
    for host in h1 h2 h3; do
        host_link "$host"
        on "$host" ip address add "198.18.0.${host#h}/24" dev eth0
        on "$host" ip route add 224.0.0.0/4 dev eth0
    done
}

host_link() { # HOST; a veth pair from its eth0 to a port of the bridge
    local number=${1#h}
    ip link add "p$number" netns "$net-sw" mtu "$mtu" address "02:00:00:00:02:0$number" numrxqueues 1 numtxqueues 1 \
        type veth peer name eth0 netns "$net-$1" mtu "$mtu" address "02:00:00:00:01:0$number" numrxqueues 1 numtxqueues 1
    wire_real sw "p$number"
    wire_real "$1" eth0
    in_sw ip link set "p$number" master br0 up
    on "$1" ip link set eth0 up
}

tagged_host() { # HOST DEVICE=TAGS...; as host_link, but all frames on the link are tagged
    local host=$1 number=${1#h} spec device
    shift
    serve sw "$here/vlan_nic.py" "p$number" "$@"
    wait_for "tagging card of $host" grep -q ready "$work/$((${#children[@]} - 1)).log"
    in_sw ip link set "p$number" address "02:00:00:00:02:0$number" mtu "$((mtu + 8))" master br0 up
    for spec in "$@"; do
        device=${spec%%=*}
        in_sw ip link set "$device" netns "$net-$host"
        on "$host" ip link set "$device" address "02:00:00:00:01:0$number" mtu "$mtu" up
    done
}

wire_real() { # NODE DEVICE; complete checksums, no super-frames, tags in the frame
    in_node "$1" ethtool -K "$2" tx off rx off sg off tso off gso off gro off txvlan off rxvlan off >/dev/null
}

enable_ipv6() { # HOST...
    local host
    for host in "$@"; do
        on "$host" sysctl -q -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.eth0.disable_ipv6=0
        on "$host" ip address add "fd00:198:18::${host#h}/64" dev eth0
    done
    for host in "$@"; do
        wait_for "IPv6 addresses of $host" no_tentative "$host"
    done
}

no_tentative() { [ -z "$(on "$1" ip -6 -oneline address show dev eth0 tentative)" ]; }
tcp_port() { on "$1" ss -Hltn "sport = :$2" | grep . >/dev/null; }
udp_port() { on "$1" ss -Hlun "sport = :$2" | grep . >/dev/null; }

in_node() { # NODE COMMAND...
    ip netns exec "$net-$1" "${@:2}"
}

in_sw() { in_node sw "$@"; }

on() { # HOST COMMAND...; the command sees the blade's name, never that of the recording machine
    local run
    as_blade "$1"
    "${run[@]}" "${@:2}"
}

serve() { # NODE COMMAND...; in the background until the case ends
    local run
    as_blade "$1"
    "${run[@]}" "${@:2}" >"$work/${#children[@]}.log" 2>&1 </dev/null &
    children+=($!)
}

as_blade() { # NODE; leaves in `run` the words to put in front of a command
    # shellcheck disable=SC2016 # Expanded by the inner shell.
    run=(ip netns exec "$net-$1" unshare --uts sh -c 'hostname "$0" && exec "$@"' "blade${1#h}")
}

wait_for() { # WHAT TEST...; polls until the test succeeds
    local tries
    for ((tries = 0; tries < wait_tries_max; tries++)); do
        if "${@:2}"; then return; fi
        sleep "$wait_step_s"
    done
    fail "no $1 after $wait_tries_max tries"
}

## Recording ##########################################################################################################

record() { # PORT [nano|micro] [inout|in]
    local port=$1 precision=${2:-nano} direction=${3:-inout}
    # Slots of 16 kB hold every frame we allow; with the default of 256 kB the buffer has room for a handful.
    ip netns exec "$net-sw" tcpdump -n -i "$port" --time-stamp-precision="$precision" -Q "$direction" --immediate-mode -U -Z root -s 16384 -B 16384 \
        -w "$work/$port.pcap" 2>"$work/$port.tcpdump" &
    children+=($!)
    wait_for "recorder on $port" grep -qs 'listening on' "$work/$port.tcpdump"
    taps+=("$port")
    recorder[${port#p}]=$!
    direction_of[${port#p}]=$direction
    frames_before[${port#p}]=$(passed "$port" "$direction")
}

passed() { # PORT DIRECTION; frames the port has carried
    local statistics rx tx=0
    statistics=/sys/class/net/$1/statistics
    rx=$(in_sw cat "$statistics/rx_packets")
    if [ "$2" = inout ]; then tx=$(in_sw cat "$statistics/tx_packets"); fi
    echo $((rx + tx))
}

caught_up() { # PORT; whether the recorder has written all that the port carried
    local n=${1#p} written
    written=$(tcpdump -r "$work/$1.pcap" --count 2>/dev/null | cut -d ' ' -f 1)
    [ "$written" -ge $(($(passed "$1" "${direction_of[n]}") - frames_before[n])) ]
}

connections_closed() {
    local host
    for host in h1 h2 h3; do
        if on "$host" ss -Htn exclude listening exclude time-wait exclude closed | grep . >/dev/null; then return 1; fi
    done
}

finish() { # FORMAT FILTER...; stops the recorders, checks, puts the capture in its place
    local format=$1 port
    shift
    wait_for 'end of the connections' connections_closed
    for port in "${taps[@]}"; do
        wait_for "last frame on $port" caught_up "$port"
        kill -TERM "${recorder[${port#p}]}"
        wait "${recorder[${port#p}]}"
        "$here/wire_pad.py" "$work/$port.pcap"
    done
    local capture="$work/in.$format"
    if [ "$format" = pcap ]; then
        mv "$work/p1.pcap" "$capture"
    else
        (cd "$work" && mergecap -F "$format" -I none -w "$capture" "${taps[@]/%/.pcap}")
        # mergecap notes the kernel it runs on; a string of the same length keeps the options as they are.
        sed -i "s/$(uname -r)/$(uname -r | tr -c '.\n' x)/" "$capture"
    fi
    check "$capture" "$@"
    mkdir -p "$here/$case_name"
    rm -f "$here/$case_name"/in.*
    mv "$capture" "$here/$case_name/in.$format"
    printf '%-12s %5d frames %7d bytes\n' "$case_name" "$(count "$here/$case_name/in.$format")" \
        "$(stat -c %s "$here/$case_name/in.$format")" >&3
}

count() { # FILE [FILTER]; needs the protocol checks of `decode`
    decode "$1" -Y "${2:-frame}" | wc -l
}

decode() { # FILE OPTION...
    tshark -n -r "$1" -o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE "${decode_as[@]}" "${@:2}" 2>/dev/null
}

check() { # FILE FILTER...; each filter must match, nothing may look like a trace of this machine
    local capture=$1 filter secret
    shift
    for filter in "$@"; do
        if [ "$(count "$capture" "$filter")" = 0 ]; then fail "no frame matches: $filter"; fi
    done
    for filter in 'ip.checksum.status == 0' 'tcp.checksum.status == 0' 'udp.checksum.status == 0' \
        'icmp.checksum.status == 0' 'icmpv6.checksum.status == 0' "frame.len > $((mtu + 14 + 8))" 'frame.len < 60' \
        'frame.cap_len != frame.len' '!(eth.src[0:4] == 02:00:00:00)' 'ip.src != 198.18.0.0/15 && ip.src != 0.0.0.0' \
        'tcp.analysis.lost_segment' '_ws.malformed'; do
        if [ "$(count "$capture" "$filter")" != 0 ]; then fail "a frame matches: $filter"; fi
    done
    for secret in "$(uname -r)" "$(uname -n)" "${SUDO_USER:-}" "$work" "$here"; do
        # Shorter strings turn up in encrypted bytes by chance.
        if [ ${#secret} -ge 5 ] && grep -qaF "$secret" "$capture"; then fail "the capture contains \"$secret\""; fi
    done
}

## The run ############################################################################################################

fail() {
    echo "record.sh: ${case_name:+$case_name: }$*" >&4
    exit 1
}

list_cases() { declare -F | sed -n 's/^declare -f case_//p' | tr _ -; }

require_programs() {
    local program
    for program in ip ethtool ping arping tcpdump tshark mergecap dnsmasq busybox dig iperf3 iperf sshd ssh curl openssl \
        nginx swaks tgtd tgtadm iscsi-ls iscsi-test-cu ganesha.nfsd nfs-ls ffmpeg /usr/bin/python3; do
        if ! command -v "$program" >/dev/null; then fail "$program is missing; the packages are named at the top of $0"; fi
    done
}

clean_up() { # After each case, and whenever the script ends.
    local status=$? pid node
    if [ $status != 0 ]; then
        echo "record.sh: $case_name failed; the last words of its programs:" >&4
        tail -n 5 "$work"/*.log >&4 || true
    fi
    for pid in "${children[@]}"; do kill "$pid" 2>/dev/null || true; done
    for node in h1 h2 h3 sw; do
        if ip netns list | grep -qw "$net-$node"; then
            # shellcheck disable=SC2046 # One word per process; children of our servers.
            kill -KILL $(ip netns pids "$net-$node") 2>/dev/null || true
            ip netns delete "$net-$node"
        fi
    done
    wait
    rm -rf "$work"
}

run_case() { # NAME; in a subshell, so that nothing of it stays
    case_name=$1
    trap clean_up EXIT
    work=$(mktemp -d)
    chmod 755 "$work" # Servers that drop root read their files here.
    exec 3>&1 4>&2 >"$work/programs.log" 2>&1 # 3: results, 4: complaints; the rest is what the programs say.
    mtu=1500 children=() taps=() decode_as=()
    declare -a recorder direction_of frames_before joined
    "case_${case_name//-/_}"
}

main() {
    if [ "${1:-}" = --list ]; then list_cases; return; fi
    if [ "$(id -u)" != 0 ]; then fail 'needs root, for network namespaces'; fi
    require_programs
    local name names
    if [ $# = 0 ]; then mapfile -t names < <(list_cases); else names=("$@"); fi
    for name in "${names[@]}"; do
        list_cases | grep -qx -- "$name" || fail "no case \"$name\"; $0 --list names them"
    done
    for name in "${names[@]}"; do
        # Not in a condition: that would switch off `set -e` inside.
        (run_case "$name")
    done
}

case_name=
exec 4>&2
main "$@"
