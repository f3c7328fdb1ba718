# shellcheck shell=bash
# The cases of record.sh, which reads this file: who talks to whom, and what must be seen in the capture.
#
# Each case builds its network, starts its servers, calls `record`, lets real programs talk, and ends with `finish`, whose
# filters (Wireshark's) must each match at least one frame. A case is named after its function, with dashes.

## The cases ##########################################################################################################

# Address resolution by itself: asked by the kernel for a ping, by a program, an announcement, a duplicate check.
case_arp() {
    network
    record p1
    on h1 ping -q -c 1 198.18.0.2
    on h1 arping -q -c 2 -I eth0 198.18.0.3
    on h2 arping -q -c 1 -U -I eth0 198.18.0.2
    on h3 arping -q -c 1 -D -I eth0 198.18.0.77
    finish pcap 'arp.opcode == 1' 'arp.opcode == 2' 'arp.isgratuitous' 'arp.src.proto_ipv4 == 0.0.0.0'
}

# Three sizes, from an empty payload to the largest that fits an MTU of 1500.
case_ping() {
    network
    record p1
    on h1 ping -q -c 3 -i 0.2 198.18.0.2
    on h1 ping -q -c 2 -i 0.2 -s 0 198.18.0.3
    on h3 ping -q -c 2 -i 0.2 -s 1472 -M 'do' 198.18.0.1
    finish pcap 'icmp.type == 8' 'icmp.type == 0' 'frame.len == 1514' 'frame.len == 60'
}

# IPv6 from the moment the address is set: MLD report, duplicate address detection, resolution, echo, all-nodes.
case_ping6_nd() {
    network
    record p1
    enable_ipv6 h1 h2 h3
    on h1 ping -q -c 3 -i 0.2 fd00:198:18::2
    on h2 ping -q -c 1 -I eth0 ff02::1
    finish pcap 'icmpv6.type == 135 && ipv6.src == ::' 'icmpv6.type == 135 && ipv6.src != ::' 'icmpv6.type == 136' \
        'icmpv6.type == 128' 'icmpv6.type == 129' 'icmpv6.type == 143' 'ipv6.dst == ff02::1'
}

# Discover, offer, request, acknowledge; a ping with the lease; a unicast renewal; the release.
case_dhcp() {
    network
    on h1 ip address flush dev eth0
    serve h2 dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --interface=eth0 --bind-interfaces --user=root \
        --pid-file= --log-facility=- --dhcp-leasefile="$work/leases" --dhcp-range=198.18.0.100,198.18.0.110,2m \
        --dhcp-option=option:router,198.18.0.2 --dhcp-option=option:domain-name,example.org
    wait_for 'DHCP server' udp_port h2 67
    cat >"$work/lease" <<'SCRIPT'
#!/bin/sh
case $1 in
    deconfig) ip address flush dev "$interface" ;;
    bound | renew) ip address replace "$ip/$mask" dev "$interface" ;;
esac
echo "$1" >>"$(dirname "$0")/lease-events"
SCRIPT
    chmod +x "$work/lease"
    record p1
    serve h1 busybox udhcpc -f -i eth0 -x hostname:blade1 -s "$work/lease"
    local client=${children[-1]}
    wait_for 'lease' grep -q bound "$work/lease-events"
    on h1 ping -q -c 1 198.18.0.2
    kill -USR1 "$client"
    wait_for 'renewal' grep -q renew "$work/lease-events"
    kill -USR2 "$client"
    wait_for 'release' bash -c "[ \$(grep -c deconfig '$work/lease-events') = 2 ]"
    finish pcap 'dhcp.option.dhcp == 1' 'dhcp.option.dhcp == 2' 'dhcp.option.dhcp == 3 && eth.dst == ff:ff:ff:ff:ff:ff' \
        'dhcp.option.dhcp == 3 && ip.dst == 198.18.0.2' 'dhcp.option.dhcp == 5' 'dhcp.option.dhcp == 7'
}

# The usual record types over UDP, a name that does not exist, the same over IPv6 and over TCP.
case_dns() {
    network
    enable_ipv6 h1 h2
    serve h2 dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= \
        --log-facility=- --interface=eth0 --bind-interfaces --local=/example.org/ --auth-ttl=300 \
        --host-record=blade1.example.org,198.18.0.1,fd00:198:18::1 --host-record=blade2.example.org,198.18.0.2 \
        --cname=www.example.org,blade2.example.org --mx-host=example.org,blade3.example.org,10 \
        --txt-record=example.org,v=spf1,-all --ptr-record=1.0.18.198.in-addr.arpa,blade1.example.org
    wait_for 'DNS server' udp_port h2 53
    record p1
    local ask=(dig -r +tries=1 +timeout=5 @198.18.0.2) query
    for query in 'blade1.example.org A' 'blade1.example.org AAAA' 'www.example.org A' 'example.org MX' \
        'example.org TXT' '-x 198.18.0.1' 'nobody.example.org A'; do
        # shellcheck disable=SC2086 # A query is two words.
        on h1 "${ask[@]}" $query
    done
    on h1 "${ask[@]}" +tcp blade1.example.org A
    on h1 dig -r +tries=1 +timeout=5 @fd00:198:18::2 blade1.example.org AAAA
    finish pcap 'dns.flags.rcode == 3' 'dns.qry.type == 15' 'dns.aaaa' 'dns.cname' 'tcp.port == 53' 'ipv6 && udp.port == 53'
}

# A page, a missing page, a file of 40 kB, an upload (refused) and two requests on one connection; the last over IPv6.
case_http() {
    network
    enable_ipv6 h1 h2
    web_server 'listen 80; listen [::]:80;'
    wait_for 'web server' tcp_port h2 80
    record p1
    on h1 curl -sS http://198.18.0.2/
    on h1 curl -sS http://198.18.0.2/missing
    on h1 curl -sS -o "$work/got" http://198.18.0.2/file
    cmp "$work/got" "$work/web/file"
    on h1 curl -sS -T "$work/web/index.html" http://198.18.0.2/upload
    on h1 curl -sS 'http://[fd00:198:18::2]/' 'http://[fd00:198:18::2]/index.html'
    finish pcap 'http.request.method == GET' 'http.response.code == 200' 'http.response.code == 404' \
        'http.response.code == 405' 'ipv6 && http'
}

# TLS 1.3 and TLS 1.2 with a certificate made for the occasion.
case_https() {
    network
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -keyout "$work/key.pem" \
        -out "$work/cert.pem" -subj /CN=blade2.example.org -addext subjectAltName=IP:198.18.0.2
    web_server "listen 443 ssl http2; ssl_certificate $work/cert.pem; ssl_certificate_key $work/key.pem;"
    wait_for 'web server' tcp_port h2 443
    record p1
    on h1 curl -sS --cacert "$work/cert.pem" https://198.18.0.2/
    on h1 curl -sS --cacert "$work/cert.pem" --http1.1 --tls-max 1.2 -o "$work/got" https://198.18.0.2/file
    cmp "$work/got" "$work/web/file"
    finish pcapng 'tls.handshake.type == 1' 'tls.handshake.type == 2' 'tls.handshake.type == 11' 'tls.app_data'
}

case_iperf3_tcp() {
    network
    iperf3_server
    record p1
    on h1 iperf3 -c 198.18.0.2 -n 64K -l 16K
    on h1 iperf3 -c 198.18.0.2 -n 32K -l 16K -R
    finish pcap 'tcp.port == 5201 && tcp.len == 1448 && ip.src == 198.18.0.1' \
        'tcp.port == 5201 && tcp.len == 1448 && ip.src == 198.18.0.2'
}

# Two streams at 2 Mbit/s in datagrams of 64 bytes, then one the other way in datagrams of 1,472.
case_iperf3_udp() {
    network
    iperf3_server
    record p1
    on h1 iperf3 -c 198.18.0.2 -u -b 2M -l 64 -n 8K -P 2
    on h1 iperf3 -c 198.18.0.2 -u -b 2M -l 1472 -n 48K -R
    finish pcap 'udp.port == 5201 && udp.length == 72' 'udp.port == 5201 && frame.len == 1514'
}

# A login with a key, a command, and a file of 20 kB.
case_ssh() {
    network
    mkdir -p /run/sshd # Where Debian's sshd confines its unprivileged half.
    ssh-keygen -q -t ed25519 -N '' -C blade2 -f "$work/host_key"
    ssh-keygen -q -t ed25519 -N '' -C blade1 -f "$work/user_key"
    numbers 20000 >"$work/upload"
    serve h2 /usr/sbin/sshd -D -e -f /dev/null -o Port=22 -o ListenAddress=198.18.0.2 -o HostKey="$work/host_key" \
        -o PidFile=none -o AuthorizedKeysFile="$work/user_key.pub" -o StrictModes=no -o UsePAM=no \
        -o PasswordAuthentication=no -o PermitRootLogin=prohibit-password -o PermitUserRC=no -o UseDNS=no
    wait_for 'SSH server' tcp_port h2 22
    record p1
    local login=(ssh -F /dev/null -i "$work/user_key" -o IdentitiesOnly=yes -o BatchMode=yes
        -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR root@198.18.0.2)
    on h1 "${login[@]}" uname -s
    on h1 "${login[@]}" 'cat >/dev/null' <"$work/upload"
    finish pcap 'ssh.protocol' 'ssh.message_code == 21' 'ssh && tcp.dstport == 22 && tcp.len > 1000'
}

# A short message, and one with an attachment of 10 kB. Recorded with microsecond stamps, as older tools do.
case_smtp() {
    network
    serve h2 env HOME="$work" /usr/bin/python3 -m aiosmtpd --nosetuid --listen 198.18.0.2:25 --class aiosmtpd.handlers.Sink
    wait_for 'mail server' tcp_port h2 25
    numbers 10000 >"$work/attachment.txt"
    record p1 micro
    local send=(swaks --silent 1 --server 198.18.0.2 --ehlo blade1.example.org --from alice@example.org --to bob@example.org)
    on h1 "${send[@]}" --header 'Subject: temperature' --body 'Slot 3 is at 41 degrees.'
    on h1 "${send[@]}" --header 'Subject: all temperatures' --attach "@$work/attachment.txt" --attach-name temperatures.txt
    finish pcap 'smtp.req.command == "EHLO"' 'smtp.req.command == "DATA"' 'smtp.response.code == 354' 'imf'
}

# Discovery, inquiry, capacity, and tests that write and read blocks of a 1 MiB disk.
case_iscsi() {
    network
    numbers 1M >"$work/disk"
    export TGT_IPC_SOCKET="$work/tgt"
    serve h2 tgtd --foreground --iscsi portal=198.18.0.2:3260
    wait_for 'iSCSI target' tcp_port h2 3260
    local target=iqn.2026-01.org.example:blade2
    on h2 tgtadm --lld iscsi --mode target --op new --tid 1 --targetname "$target"
    on h2 tgtadm --lld iscsi --mode logicalunit --op new --tid 1 --lun 1 --backing-store "$work/disk"
    on h2 tgtadm --lld iscsi --mode target --op bind --tid 1 --initiator-address 198.18.0.1
    record p1
    local test initiator=iqn.2026-01.org.example:blade1
    on h1 iscsi-ls -i "$initiator" iscsi://198.18.0.2
    on h1 iscsi-inq -i "$initiator" "iscsi://198.18.0.2/$target/1"
    on h1 iscsi-readcapacity16 -i "$initiator" "iscsi://198.18.0.2/$target/1"
    for test in SCSI.Write10.DpoFua SCSI.Read10.DpoFua iSCSI.iSCSIResiduals.Write10Residuals; do
        on h1 iscsi-test-cu --dataloss -i "$initiator" -t "$test" "iscsi://198.18.0.2/$target/1"
    done
    finish pcap 'iscsi.opcode == 0x03' 'iscsi.opcode == 0x04' 'scsi_sbc.opcode == 0x2a' 'scsi_sbc.opcode == 0x28'
}

# NFS version 4 by a client in user space: list a directory, read 20 kB.
case_nfs() {
    network
    mkdir "$work/export"
    cat >"$work/ganesha.conf" <<CONF
NFS_CORE_PARAM { Protocols = 4; Bind_addr = 198.18.0.2; NFS_Port = 2049; Enable_NLM = false; Enable_RQUOTA = false; }
NFSV4 { Graceless = true; RecoveryRoot = "$work/recovery"; Minor_Versions = 0; }
EXPORT { Export_Id = 1; Path = $work/export; Pseudo = /export; Access_Type = RW; Squash = None; Protocols = 4;
         SecType = sys; FSAL { Name = VFS; } }
CONF
    mkdir "$work/recovery"
    serve h2 ganesha.nfsd -F -f "$work/ganesha.conf" -L "$work/ganesha.log" -p "$work/ganesha.pid"
    wait_for 'NFS server' tcp_port h2 2049
    numbers 20000 >"$work/export/file"
    record p1
    on h1 nfs-ls 'nfs://198.18.0.2/export?version=4'
    on h1 nfs-cat 'nfs://198.18.0.2/export/file?version=4' >"$work/got"
    cmp "$work/got" "$work/export/file"
    finish pcap 'nfs.opcode == 18' 'nfs.opcode == 25' 'nfs.opcode == 26'
}

# A call of about two seconds, G.711 in 20 ms packets in both directions, with RTCP.
case_rtp_voice() {
    network
    rtp_receiver h1 40000 'audio 40000 RTP/AVP 0' 'rtpmap:0 PCMU/8000'
    rtp_receiver h2 40000 'audio 40000 RTP/AVP 0' 'rtpmap:0 PCMU/8000'
    record p1
    local packet='aresample=8000,aformat=channel_layouts=mono,asetnsamples=160' # 20 ms
    local encode=(-c:a pcm_mulaw -t 2 -f rtp)
    on h1 ffmpeg -nostdin -v error -re -f lavfi -i "flite=text='Slot three, please answer.',$packet" \
        "${encode[@]}" 'rtp://198.18.0.2:40000?pkt_size=172' &
    local call=$!
    on h2 ffmpeg -nostdin -v error -re -f lavfi -i "flite=text='This is slot three, I am here.':voice=slt,$packet" \
        "${encode[@]}" 'rtp://198.18.0.1:40000?pkt_size=172'
    wait "$call"
    decode_as=(-d 'udp.port==40000,rtp')
    finish pcap 'rtp.p_type == 0 && ip.src == 198.18.0.1 && frame.len == 214' \
        'rtp.p_type == 0 && ip.src == 198.18.0.2 && frame.len == 214' 'rtcp.pt == 200'
}

# Three seconds of H.264, the packets of a picture in bursts.
case_rtp_video() {
    network
    rtp_receiver h1 40000 'video 40000 RTP/AVP 96' 'rtpmap:96 H264/90000' 'fmtp:96 packetization-mode=1'
    record p1
    on h2 ffmpeg -nostdin -v error -re -f lavfi -i testsrc2=size=320x240:rate=15 -t 3 -c:v libx264 -preset veryfast \
        -tune zerolatency -b:v 200k -maxrate 200k -bufsize 50k -g 15 -pix_fmt yuv420p -f rtp 'rtp://198.18.0.1:40000?pkt_size=1400'
    decode_as=(-d 'udp.port==40000,rtp')
    finish pcap 'rtp.p_type == 96' 'rtp.marker == 1' 'rtcp.pt == 200'
}

# The bridge asks who listens, two hosts join a group, a stream to the group, both leave.
case_multicast() {
    network
    in_sw ip link set br0 type bridge mcast_snooping 1 mcast_igmp_version 3 mcast_query_response_interval 100
    record p1
    in_sw ip link set br0 type bridge mcast_querier 1
    local host
    for host in h1 h3; do
        serve "$host" iperf -s -u -B 239.18.0.1 -l 500
        joined[${host#h}]=${children[-1]}
        wait_for "membership of $host" member "p${host#h}" 239.18.0.1
    done
    on h2 iperf -c 239.18.0.1 -u -T 4 -b 400K -l 500 -n 30K
    kill "${joined[1]}" "${joined[3]}"
    wait_for 'leave' not_member p1 239.18.0.1
    finish pcap 'igmp.type == 0x11' 'igmp.record_type == 4' 'igmp.record_type == 3' 'udp && ip.dst == 239.18.0.1'
}

# Two VLANs on the trunk to h1: h2 is in VLAN 10, h3 in VLAN 20 with priority 5.
case_vlan() {
    namespaces
    tagged_host h1 v10=8100:10 v20=8100:20:5
    tagged_host h2 v10=8100:10
    tagged_host h3 v20=8100:20:5
    on h1 ip address add 198.18.10.1/24 dev v10
    on h1 ip address add 198.18.20.1/24 dev v20
    on h2 ip address add 198.18.10.2/24 dev v10
    on h3 ip address add 198.18.20.3/24 dev v20
    web_server 'listen 80;'
    wait_for 'web server' tcp_port h2 80
    record p1
    on h1 ping -q -c 2 -i 0.2 198.18.10.2
    on h1 ping -q -c 2 -i 0.2 -s 1472 -M 'do' 198.18.20.3
    on h1 curl -sS -o "$work/got" http://198.18.10.2/file
    cmp "$work/got" "$work/web/file"
    finish pcap 'vlan.id == 10 && http' 'vlan.id == 20 && vlan.priority == 5 && icmp.type == 0' 'vlan && arp' 'frame.len == 1518'
}

# The same kind of talk inside a customer's VLAN 10 inside a provider's VLAN 100.
case_qinq() {
    namespaces
    local host
    for host in h1 h2; do
        tagged_host "$host" q=88a8:100,8100:10
        on "$host" ip address add "198.18.0.${host#h}/24" dev q
    done
    web_server 'listen 80;'
    wait_for 'web server' tcp_port h2 80
    record p1
    on h1 ping -q -c 2 -i 0.2 198.18.0.2
    on h1 curl -sS -o "$work/got" http://198.18.0.2/file
    cmp "$work/got" "$work/web/file"
    finish pcap 'ieee8021ad.id == 100 && vlan.id == 10 && icmp.type == 0' 'ieee8021ad && http' 'ieee8021ad && arp' 'frame.len == 1522'
}

# MTU 9,000: the largest ping, and a file.
case_jumbo() {
    mtu=9000
    network
    web_server 'listen 80;'
    wait_for 'web server' tcp_port h2 80
    record p1
    on h1 ping -q -c 2 -i 0.2 -s 8972 -M 'do' 198.18.0.2
    on h1 curl -sS -o "$work/got" http://198.18.0.2/file
    cmp "$work/got" "$work/web/file"
    finish pcap 'icmp && frame.len == 9014' 'tcp && frame.len == 9014' 'http'
}

# Two bridges on one link elect a root; nothing here may be forwarded by a switch.
case_stp() {
    namespaces
    host_link h1
    record p1
    in_sw ip link set br0 type bridge hello_time 100 stp_state 1
    on h1 ip link set eth0 nomaster
    on h1 ip link add br1 address 02:00:00:00:01:f1 type bridge hello_time 100 stp_state 1 mcast_snooping 0
    on h1 ip link set eth0 master br1
    on h1 ip link set br1 up
    wait_for 'ten BPDUs' bash -c "[ \$(tcpdump -n -r '$work/p1.pcap' stp 2>/dev/null | wc -l) -ge 10 ]"
    finish pcapng 'stp' 'eth.dst == 01:80:c2:00:00:00'
}

# Three hosts at once, recorded where the frames enter the bridge: interface 0 is p1, 1 is p2, 2 is p3.
case_three_ports() {
    network
    web_server 'listen 80;'
    wait_for 'web server' tcp_port h2 80
    record p1 nano in
    record p2 nano in
    record p3 nano in
    on h1 ping -q -c 5 -i 0.2 198.18.0.3 &
    local pinging=$!
    on h3 ping -q -c 5 -i 0.2 198.18.0.2
    on h1 curl -sS http://198.18.0.2/
    on h3 curl -sS http://198.18.0.2/
    wait "$pinging"
    finish pcapng 'frame.interface_id == 0 && eth.src == 02:00:00:00:01:01' 'frame.interface_id == 1 && http' \
        'frame.interface_id == 2 && icmp'
}

## What cases have in common ##########################################################################################

numbers() { # BYTES; something to transfer that compresses, counts, and is the same each time
    seq 100000 299999 >"$work/numbers"
    truncate -s "$1" "$work/numbers"
    cat "$work/numbers"
}

web_server() { # LISTEN-DIRECTIVES; on h2, all addresses; "/" is a page, "/file" 40 kB
    mkdir -p "$work/web"
    printf '<!doctype html>\n<title>blade 2</title>\n<p>Slot 2 is up.</p>\n' >"$work/web/index.html"
    numbers 40000 >"$work/web/file"
    cat >"$work/nginx.conf" <<CONF
user root; daemon off; worker_processes 1; pid $work/nginx.pid; error_log $work/nginx.log;
events { }
http {
    access_log off; client_body_temp_path $work/nginx-body; proxy_temp_path $work/nginx-proxy;
    fastcgi_temp_path $work/nginx-fastcgi; uwsgi_temp_path $work/nginx-uwsgi; scgi_temp_path $work/nginx-scgi;
    server { $1 root $work/web; }
}
CONF
    serve h2 nginx -e "$work/nginx.log" -c "$work/nginx.conf"
}

iperf3_server() {
    serve h2 iperf3 -s
    wait_for 'iperf3 server' tcp_port h2 5201
}

rtp_receiver() { # HOST PORT MEDIA ATTRIBUTE...
    local host=$1 port=$2 media=$3 sdp="$work/$1.sdp"
    shift 3
    {
        printf 'v=0\no=- 0 0 IN IP4 198.18.0.%s\ns=-\nc=IN IP4 198.18.0.%s\nt=0 0\nm=%s\n' "${host#h}" "${host#h}" "$media"
        printf 'a=%s\n' "$@"
    } >"$sdp"
    serve "$host" ffmpeg -nostdin -v error -protocol_whitelist file,udp,rtp -i "$sdp" -f null -
    wait_for "RTP receiver on $host" udp_port "$host" "$port"
}

member() { in_sw bridge mdb show dev br0 | grep "port $1 grp $2 " >/dev/null; }
not_member() { ! member "$@"; }
