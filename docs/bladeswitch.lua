-- The chassis message (EtherType 0x88B5) for Wireshark and tshark: see message-format.md for the layout.
--
--   tshark -X lua_script:docs/bladeswitch.lua -r capture.pcapng -V
--   Wireshark: copy it to the personal Lua plugins folder (Help, About Wireshark, Folders).
--
-- Decodes every field and the bodies of Notice, Advertise and the control messages, hands the body of a Data message to the dissector of its
-- inner EtherType, and marks with expert information what the switch drops as message-malformed (errors) and what a
-- sender should not send (warnings). `bladeswitch.final.mac == 02:00:00:00:00:02` and the like work as filters.

local ETHERTYPE = 0x88b5
local VERSION = 1
local HEADER_LEN = 24
-- Messages in messages are shown this deep; what is deeper is shown as bytes.
local DEPTH_MAX = 4

local DATA, NOTICE, ADVERTISE, IDENTITY_REQUEST = 0, 1, 2, 3
local HELLO, SET_MODE, EXECUTE, LISTEN, PROVISION, ACK, RATE = 16, 17, 18, 19, 20, 21, 22
local TYPES = {
    [DATA] = "Data", [NOTICE] = "Notice", [ADVERTISE] = "Advertise", [IDENTITY_REQUEST] = "IdentityRequest", [HELLO] = "Hello",
    [SET_MODE] = "SetMode", [EXECUTE] = "Execute", [LISTEN] = "Listen", [PROVISION] = "Provision", [ACK] = "Ack",
    [RATE] = "Rate",
}
-- Types from here on are control messages, known or not.
local FIRST_CONTROL = 16
local CONTROL_VERSION = 1
local CONTROL_HEAD_LEN = 12
local SEALED = 0x01
local SEAL_LEN = 40
local STATUS = { [0] = "done", [1] = "accepted", [2] = "unsupported", [3] = "failed", [4] = "refused" }

local MAC, IPV4, IPV6 = 1, 2, 3
local KINDS = { [MAC] = "MAC", [IPV4] = "IPv4", [IPV6] = "IPv6" }
local ADDRESS_LEN = { [MAC] = 6, [IPV4] = 4, [IPV6] = 16 }

local REASONS = { [1] = "final destination unknown" }
local INNER = {
    [0] = "opaque", [0x0800] = "IPv4", [0x0806] = "ARP", [0x8100] = "802.1Q", [0x86dd] = "IPv6", [0x88a8] = "802.1ad",
    [ETHERTYPE] = "chassis message",
}

local proto = Proto("bladeswitch", "Chassis Message")

-- The fields of an address at a place: `final`, `notice.final` and `advertise`.
local function address_fields(place, name)
    return {
        [MAC] = ProtoField.ether("bladeswitch." .. place .. "mac", name .. " (MAC)"),
        [IPV4] = ProtoField.ipv4("bladeswitch." .. place .. "ipv4", name .. " (IPv4)"),
        [IPV6] = ProtoField.ipv6("bladeswitch." .. place .. "ipv6", name .. " (IPv6)"),
        unknown = ProtoField.bytes("bladeswitch." .. place .. "unknown", name .. " (unknown kind)"),
        unused = ProtoField.bytes("bladeswitch." .. place .. "unused", "Unused octets"),
    }
end

local f = {
    version = ProtoField.uint8("bladeswitch.version", "Version"),
    type = ProtoField.uint8("bladeswitch.type", "Type", base.DEC, TYPES),
    kind = ProtoField.uint8("bladeswitch.kind", "Kind of final destination", base.DEC, KINDS),
    flags = ProtoField.uint8("bladeswitch.flags", "Flags", base.HEX),
    inner = ProtoField.uint16("bladeswitch.inner", "Inner EtherType", base.HEX, INNER),
    body_len = ProtoField.uint16("bladeswitch.body_len", "Body length"),
    body = ProtoField.bytes("bladeswitch.body", "Body"),
    padding = ProtoField.bytes("bladeswitch.padding", "Padding"),
    reason = ProtoField.uint8("bladeswitch.notice.reason", "Reason", base.DEC, REASONS),
    notice_kind = ProtoField.uint8("bladeswitch.notice.kind", "Kind of offending final destination", base.DEC, KINDS),
    offending = ProtoField.bytes("bladeswitch.notice.offending", "Start of offending message"),
    count = ProtoField.uint16("bladeswitch.advertise.count", "Number of entries"),
    slot = ProtoField.uint16("bladeswitch.advertise.slot", "Slot"),
    chassis = ProtoField.uint16("bladeswitch.advertise.chassis", "Chassis"),
    macs = ProtoField.uint8("bladeswitch.advertise.macs", "Number of MACs"),
    ips = ProtoField.uint8("bladeswitch.advertise.ips", "Number of IPs"),
    ip_kind = ProtoField.uint8("bladeswitch.advertise.kind", "Kind of address", base.DEC, KINDS),
    rest = ProtoField.bytes("bladeswitch.rest", "Octets of a later version"),
    control_version = ProtoField.uint8("bladeswitch.control.version", "Version of control messages"),
    control_flags = ProtoField.uint8("bladeswitch.control.flags", "Control flags", base.HEX),
    sealed = ProtoField.bool("bladeswitch.control.sealed", "Sealed", 8, nil, SEALED),
    reserved = ProtoField.bytes("bladeswitch.control.reserved", "Reserved"),
    session = ProtoField.uint32("bladeswitch.control.session", "Session", base.HEX),
    transaction = ProtoField.uint32("bladeswitch.control.transaction", "Transaction"),
    counter = ProtoField.uint64("bladeswitch.control.counter", "Counter of the seal"),
    code = ProtoField.bytes("bladeswitch.control.code", "Code of the seal (HMAC-SHA-256)"),
    hello_slot = ProtoField.uint16("bladeswitch.hello.slot", "Slot"),
    interval = ProtoField.uint32("bladeswitch.hello.interval", "Interval (ms)"),
    rate = ProtoField.uint64("bladeswitch.hello.rate", "Rate (bit/s)"),
    hello_macs = ProtoField.uint8("bladeswitch.hello.macs", "Number of MACs"),
    hello_ips = ProtoField.uint8("bladeswitch.hello.ips", "Number of IPs"),
    hello_functions = ProtoField.uint8("bladeswitch.hello.functions", "Number of functions"),
    hello_kind = ProtoField.uint8("bladeswitch.hello.kind", "Kind of address", base.DEC, KINDS),
    hello_function = ProtoField.string("bladeswitch.hello.function", "Function"),
    mode = ProtoField.string("bladeswitch.set_mode.mode", "Mode"),
    execute = ProtoField.string("bladeswitch.execute.function", "Function"),
    timeslot = ProtoField.uint16("bladeswitch.listen.timeslot", "Timeslot"),
    parameters = ProtoField.uint8("bladeswitch.provision.count", "Number of parameters"),
    parameter = ProtoField.string("bladeswitch.provision.name", "Parameter"),
    value = ProtoField.string("bladeswitch.provision.value", "Value"),
    acked = ProtoField.uint8("bladeswitch.ack.type", "Acknowledged type", base.DEC, TYPES),
    status = ProtoField.uint8("bladeswitch.ack.status", "Status", base.DEC, STATUS),
    asked_rate = ProtoField.uint64("bladeswitch.rate.rate", "Rate (bit/s)"),
    asked_to = ProtoField.string("bladeswitch.rate.to", "Port"),
    ack_text = ProtoField.string("bladeswitch.ack.text", "Text"),
}
local final_fields = address_fields("final.", "Final destination")
local notice_fields = address_fields("notice.final.", "Offending final destination")
local advertise_fields = address_fields("advertise.", "Address")
local hello_fields = address_fields("hello.", "Address")

local fields = {}
for _, group in ipairs({ f, final_fields, notice_fields, advertise_fields, hello_fields }) do
    for _, field in pairs(group) do
        fields[#fields + 1] = field
    end
end
proto.fields = fields

local e = {
    version = ProtoExpert.new("bladeswitch.version.unknown", "Unknown version: the message cannot be read",
        expert.group.MALFORMED, expert.severity.ERROR),
    kind = ProtoExpert.new("bladeswitch.kind.unknown", "Unknown kind of address", expert.group.MALFORMED, expert.severity.ERROR),
    body_len = ProtoExpert.new("bladeswitch.body_len.beyond", "The body would end beyond the frame",
        expert.group.MALFORMED, expert.severity.ERROR),
    short = ProtoExpert.new("bladeswitch.short", "The message ends within a field", expert.group.MALFORMED, expert.severity.ERROR),
    body = ProtoExpert.new("bladeswitch.body.malformed", "The body is no whole packet of the inner EtherType",
        expert.group.MALFORMED, expert.severity.WARN),
    type = ProtoExpert.new("bladeswitch.type.unknown", "Unknown type: forwarded as data", expert.group.UNDECODED, expert.severity.NOTE),
    flags = ProtoExpert.new("bladeswitch.flags.set", "Flags are sent as 0", expert.group.PROTOCOL, expert.severity.WARN),
    unused = ProtoExpert.new("bladeswitch.unused.set", "Unused octets are sent as 0", expert.group.PROTOCOL, expert.severity.WARN),
    request = ProtoExpert.new("bladeswitch.request.body", "An IdentityRequest has no body", expert.group.PROTOCOL, expert.severity.WARN),
    inner = ProtoExpert.new("bladeswitch.inner.set", "Only Data has an inner EtherType", expert.group.PROTOCOL, expert.severity.WARN),
    control_type = ProtoExpert.new("bladeswitch.control.type.unknown", "Unknown type of control message",
        expert.group.UNDECODED, expert.severity.NOTE),
    control_version = ProtoExpert.new("bladeswitch.control.version.unknown", "Unknown version: its receiver ignores the body",
        expert.group.MALFORMED, expert.severity.WARN),
    cut = ProtoExpert.new("bladeswitch.control.short", "The control message ends within a field: its receiver ignores it",
        expert.group.MALFORMED, expert.severity.WARN),
    name = ProtoExpert.new("bladeswitch.control.name", "No name: 1 to 32 visible ASCII characters", expert.group.MALFORMED, expert.severity.WARN),
    unsent = ProtoExpert.new("bladeswitch.unsent", "Notice: the switch dropped a message", expert.group.RESPONSE_CODE, expert.severity.NOTE),
}
local experts = {}
for _, info in pairs(e) do
    experts[#experts + 1] = info
end
proto.experts = experts

local ethertypes = DissectorTable.get("ethertype")
local data_dissector = Dissector.get("data")

-- Adds the 16 octets of an address; returns it as text.
local function add_address(tree, group, kind, octets)
    local len = ADDRESS_LEN[kind]
    if not len then
        tree:add(group.unknown, octets)
        return "unknown"
    end
    local address = octets(0, len)
    tree:add(group[kind], address)
    if len < 16 then
        local unused = octets(len)
        local item = tree:add(group.unused, unused)
        if unused:bytes():tohex():find("[^0]") then
            item:add_proto_expert_info(e.unused)
        else
            item:set_hidden(true)
        end
    end
    if kind == MAC then
        return tostring(address:ether())
    elseif kind == IPV4 then
        return tostring(address:ipv4())
    end
    return tostring(address:ipv6())
end

-- Adds a kind octet; unknown ones are marked.
local function add_kind(tree, field, octet)
    local kind = octet:uint()
    local item = tree:add(field, octet)
    if not KINDS[kind] or ((field == f.ip_kind or field == f.hello_kind) and kind == MAC) then
        item:add_proto_expert_info(e.kind)
    end
    return kind
end

local function dissect_notice(body, pinfo, tree)
    if body:len() < 18 then
        tree:add_proto_expert_info(e.short)
        return
    end
    local reason = body(0, 1):uint()
    tree:add(f.reason, body(0, 1)):add_proto_expert_info(e.unsent)
    local kind = add_kind(tree, f.notice_kind, body(1, 1))
    local address = add_address(tree, notice_fields, kind, body(2, 16))
    local offending_len = math.min(body:len() - 18, 64)
    if offending_len > 0 then
        tree:add(f.offending, body(18, offending_len))
    end
    if body:len() > 18 + 64 then
        tree:add(f.rest, body(18 + 64))
    end
    pinfo.cols.info:append(string.format(": %s (%s)", REASONS[reason] or "reason " .. reason, address))
end

local function dissect_advertise(body, pinfo, tree)
    local offset = 0
    -- The next `len` octets, or nil if they are not there, which is marked once.
    local function take(len)
        if offset + len > body:len() then
            tree:add_proto_expert_info(e.short)
            return nil
        end
        offset = offset + len
        return body(offset - len, len)
    end

    -- An identity; behind the number of its chassis if it is in `another` one. False if it does not fit.
    local function identity(another)
        local start = offset
        local chassis
        if another then
            chassis = take(2)
            if not chassis then return false end
        end
        local head = take(4)
        if not head then return false end
        local macs, ips = head(2, 1):uint(), head(3, 1):uint()
        local entry_len = math.min((another and 6 or 4) + 6 * macs + 17 * ips, body:len() - start)
        local entry = tree:add(proto, body(start, entry_len), string.format("Identity: slot %d", head(0, 2):uint()))
        if chassis then
            entry:add(f.chassis, chassis)
            entry:append_text(string.format(" of chassis %d", chassis:uint()))
        end
        if macs + ips == 0 then
            entry:append_text(" (forget it)")
        end
        entry:add(f.slot, head(0, 2))
        entry:add(f.macs, head(2, 1))
        entry:add(f.ips, head(3, 1))
        for _ = 1, macs do
            local mac = take(6)
            if not mac then return false end
            entry:add(advertise_fields[MAC], mac)
            entry:append_text(", " .. tostring(mac:ether()))
        end
        for _ = 1, ips do
            local ip = take(17)
            if not ip then return false end
            local kind = add_kind(entry, f.ip_kind, ip(0, 1))
            entry:append_text(", " .. add_address(entry, advertise_fields, kind, ip(1, 16)))
        end
        return true
    end
    local function identities(another)
        local count = take(2)
        if not count then return false end
        tree:add(f.count, count)
        pinfo.cols.info:append(string.format(", %d entries%s", count:uint(), another and " of other chassis" or ""))
        for _ = 1, count:uint() do
            if not identity(another) then return false end
        end
        return true
    end

    if not identities(false) then return end
    -- The section on blades of other chassis.
    if offset < body:len() and body(offset, 1):uint() == 1 then
        take(1)
        if not identities(true) then return end
    end
    if offset < body:len() then
        tree:add(f.rest, body(offset))
    end
end

-- The content of a control message, by type. `take(len)` gives the next octets, or nil when they are not there.
local function text(tree, take, field)
    local len = take(1)
    if not len then return nil end
    if len:uint() == 0 then
        tree:add(field, len, "")
        return ""
    end
    local octets = take(len:uint())
    if not octets then return nil end
    tree:add(field, octets, octets:string(ENC_UTF_8))
    return octets:string(ENC_UTF_8)
end

local function name(tree, take, field)
    local word = text(tree, take, field)
    if word and (#word < 1 or #word > 32 or word:find("[^\33-\126]")) then
        tree:add_proto_expert_info(e.name)
    end
    return word
end

local control_content = {
    [HELLO] = function(tree, take)
        local head = take(17)
        if not head then return end
        tree:add(f.hello_slot, head(0, 2))
        tree:add(f.interval, head(2, 4))
        tree:add(f.rate, head(6, 8))
        tree:add(f.hello_macs, head(14, 1))
        tree:add(f.hello_ips, head(15, 1))
        tree:add(f.hello_functions, head(16, 1))
        for _ = 1, head(14, 1):uint() do
            local mac = take(6)
            if not mac then return end
            tree:add(hello_fields[MAC], mac)
        end
        for _ = 1, head(15, 1):uint() do
            local ip = take(17)
            if not ip then return end
            add_address(tree, hello_fields, add_kind(tree, f.hello_kind, ip(0, 1)), ip(1, 16))
        end
        for _ = 1, head(16, 1):uint() do
            if not name(tree, take, f.hello_function) then return end
        end
        return string.format("slot %d", head(0, 2):uint())
    end,
    [SET_MODE] = function(tree, take) return name(tree, take, f.mode) end,
    [EXECUTE] = function(tree, take) return name(tree, take, f.execute) end,
    [LISTEN] = function(tree, take)
        local timeslot = take(2)
        if not timeslot then return end
        tree:add(f.timeslot, timeslot)
        return tostring(timeslot:uint())
    end,
    [PROVISION] = function(tree, take)
        local count = take(1)
        if not count then return end
        tree:add(f.parameters, count)
        for _ = 1, count:uint() do
            if not (name(tree, take, f.parameter) and text(tree, take, f.value)) then return end
        end
        return count:uint() .. " parameters"
    end,
    [RATE] = function(tree, take)
        local rate = take(8)
        if not rate then return end
        tree:add(f.asked_rate, rate)
        if not name(tree, take, f.asked_to) then return end
        return string.format("%s bit/s", tostring(rate:uint64()))
    end,
    [ACK] = function(tree, take)
        local head = take(2)
        if not head then return end
        tree:add(f.acked, head(0, 1))
        tree:add(f.status, head(1, 1))
        if not text(tree, take, f.ack_text) then return end
        local acked, status = head(0, 1):uint(), head(1, 1):uint()
        return string.format("%s, %s", TYPES[acked] or "type " .. acked, STATUS[status] or "status " .. status)
    end,
}

local function dissect_control(body, type, pinfo, tree)
    if body:len() < CONTROL_HEAD_LEN then
        tree:add_proto_expert_info(e.cut)
        return
    end
    local version = tree:add(f.control_version, body(0, 1))
    if body(0, 1):uint() ~= CONTROL_VERSION then
        version:add_proto_expert_info(e.control_version)
        return
    end
    local flags = body(1, 1):uint()
    local flags_item = tree:add(f.control_flags, body(1, 1))
    flags_item:add(f.sealed, body(1, 1))
    if flags > SEALED then
        flags_item:add_proto_expert_info(e.flags)
    end
    local reserved = tree:add(f.reserved, body(2, 2))
    if body(2, 2):uint() ~= 0 then
        reserved:add_proto_expert_info(e.unused)
    else
        reserved:set_hidden(true)
    end
    tree:add(f.session, body(4, 4))
    tree:add(f.transaction, body(8, 4))
    pinfo.cols.info:append(string.format(", transaction %d", body(8, 4):uint()))
    local content_end = body:len()
    if flags % 2 == SEALED then
        content_end = content_end - SEAL_LEN
        if content_end < CONTROL_HEAD_LEN then
            tree:add_proto_expert_info(e.cut)
            return
        end
    end
    local offset = CONTROL_HEAD_LEN
    local function take(len)
        if offset + len > content_end then
            tree:add_proto_expert_info(e.cut)
            return nil
        end
        offset = offset + len
        return body(offset - len, len)
    end
    local content = control_content[type]
    if content then
        local said = content(tree, take)
        if said then
            pinfo.cols.info:append(": " .. said)
            if offset < content_end then
                tree:add(f.rest, body(offset, content_end - offset))
            end
        end
    elseif offset < content_end then
        tree:add(f.body, body(offset, content_end - offset))
    end
    if content_end < body:len() then
        tree:add(f.counter, body(content_end, 8))
        tree:add(f.code, body(content_end + 8, 32))
    end
end

-- Hands the body to the dissector of its EtherType; `root` is the tree of the frame.
local function dissect_data(body, inner, pinfo, tree, root)
    local depth = tonumber(pinfo.private["bladeswitch_depth"] or "0") + 1
    if inner == 0 or depth > DEPTH_MAX then
        tree:add(f.body, body)
        return
    end
    pinfo.private["bladeswitch_depth"] = tostring(depth)
    pinfo.cols.info:append(" | ")
    pinfo.cols.info:fence()
    -- A dissector that runs off the end of the body raises an error, which is about the body and not about the message.
    local whole, dissected = pcall(ethertypes.try, ethertypes, inner, body:tvb(), pinfo, root)
    if not whole then
        tree:add_proto_expert_info(e.body)
    elseif dissected == 0 then
        data_dissector:call(body:tvb(), pinfo, root)
    end
end

local function dissect_body(body, type, inner, pinfo, tree, root)
    if type == DATA then
        dissect_data(body, inner, pinfo, tree, root)
    elseif type == NOTICE then
        dissect_notice(body, pinfo, tree)
    elseif type == ADVERTISE then
        dissect_advertise(body, pinfo, tree)
    elseif type >= FIRST_CONTROL then
        dissect_control(body, type, pinfo, tree)
    else
        local item = tree:add(f.body, body)
        if type == IDENTITY_REQUEST then
            item:add_proto_expert_info(e.request)
        end
    end
end

function proto.dissector(tvb, pinfo, root)
    pinfo.cols.protocol = "CHASSIS"
    local tree = root:add(proto, tvb(0, math.min(HEADER_LEN, tvb:captured_len())))
    if tvb:captured_len() == 0 then
        tree:add_proto_expert_info(e.short)
        return 0
    end
    local version_item = tree:add(f.version, tvb(0, 1))
    if tvb:reported_len() < HEADER_LEN then
        tree:add_proto_expert_info(e.short)
        pinfo.cols.info = "Malformed: too short"
        return tvb:captured_len()
    end
    if tvb:captured_len() < HEADER_LEN then
        pinfo.cols.info = "Header cut off by the capture"
        return tvb:captured_len()
    end
    if tvb(0, 1):uint() ~= VERSION then
        version_item:add_proto_expert_info(e.version)
        pinfo.cols.info = string.format("Malformed: version %d", tvb(0, 1):uint())
        data_dissector:call(tvb(1):tvb(), pinfo, root)
        return tvb:captured_len()
    end

    local type, inner = tvb(1, 1):uint(), tvb(4, 2):uint()
    local type_name = TYPES[type] or "Type " .. type
    local type_item = tree:add(f.type, tvb(1, 1))
    if not TYPES[type] then
        type_item:add_proto_expert_info(type < FIRST_CONTROL and e.type or e.control_type)
    end
    local kind = add_kind(tree, f.kind, tvb(2, 1))
    local flags_item = tree:add(f.flags, tvb(3, 1))
    if tvb(3, 1):uint() ~= 0 then
        flags_item:add_proto_expert_info(e.flags)
    end
    local inner_item = tree:add(f.inner, tvb(4, 2))
    if inner ~= 0 and type > DATA and TYPES[type] then
        inner_item:add_proto_expert_info(e.inner)
    end
    local body_len = tvb(6, 2):uint()
    local body_len_item = tree:add(f.body_len, tvb(6, 2))
    local address = add_address(tree, final_fields, kind, tvb(8, 16))
    tree:append_text(string.format(", %s to %s, body %d bytes", type_name, address, body_len))
    pinfo.cols.info = string.format("%s to %s, body %d bytes", type_name, address, body_len)

    if not KINDS[kind] then
        pinfo.cols.info:prepend("Malformed: kind, ")
    end
    if HEADER_LEN + body_len > tvb:reported_len() then
        body_len_item:add_proto_expert_info(e.body_len)
        pinfo.cols.info:prepend("Malformed: body length, ")
        if tvb:captured_len() > HEADER_LEN then
            data_dissector:call(tvb(HEADER_LEN):tvb(), pinfo, root)
        end
        return tvb:captured_len()
    end
    -- A capture with a snapshot length may have less of the body than the frame had.
    local captured = math.min(body_len, tvb:captured_len() - HEADER_LEN)
    if captured > 0 then
        dissect_body(tvb(HEADER_LEN, captured), type, inner, pinfo, tree, root)
    end
    if tvb:captured_len() > HEADER_LEN + body_len then
        tree:add(f.padding, tvb(HEADER_LEN + body_len))
    end
    return tvb:captured_len()
end

ethertypes:add(ETHERTYPE, proto)
