"""Asks the name servers of a mesh zone what dnspython can ask, and prints what is not as the RFCs want it.

    checks.py ZONE PARENT[,PARENT] NODE=ADDRESS[,ADDRESS]... [--fast]

Prints `FINDING code TAB place TAB detail` lines and `DONE count`. Section numbers without an RFC are those of RFC 8906,
"A Common Operational Problem in DNS Servers". With --fast the exotic half is asked of the first node only.
"""

import concurrent.futures
import random
import socket
import struct
import sys
import traceback

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.tsigkeyring

PATIENCE = 4.0  # the longest path of the bed takes a quarter of a second
SILENCE = 1.0
THREADS = 24

arguments = [word for word in sys.argv[1:] if not word.startswith("--")]
fast = "--fast" in sys.argv
zone = arguments[0].rstrip(".") + "."
parents = arguments[1].split(",")
nodes = {name: rest.split(",") for name, rest in (word.split("=") for word in arguments[2:])}
servers = [(name, address) for name, addresses in nodes.items() for address in addresses]
first = next(iter(nodes))
second = list(nodes)[-1]
random.seed(1)
chance = random.Random(1)


class Wrong(Exception):
    """What a check found."""


def want(holds, said):
    if not holds:
        raise Wrong(said)


# ---- asking


def header(flags=0, qd=1, an=0, ns=0, ar=0, ident=0x1234):
    return struct.pack("!6H", ident, flags, qd, an, ns, ar)


def octets(name):
    return dns.name.from_text(name).to_wire()


def question(name, kind, klass=1):
    kind = dns.rdatatype.from_text(kind) if isinstance(kind, str) else kind
    return octets(name) + struct.pack("!2H", kind, klass)


def opt(size=1232, ttl=0, data=b"", owner=b"\0"):
    return owner + struct.pack("!HHIH", 41, size, ttl, len(data)) + data


def option(code, data=b""):
    return struct.pack("!2H", code, len(data)) + data


def datagram(server, packet, wait=PATIENCE):
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(wait)
        sock.connect((server, 53))
        sock.send(packet)
        return sock.recv(65535)


def udp(server, packet, wait=PATIENCE):
    """A reply to octets, twice asked: the WAN of the bed may lose a packet."""
    try:
        return datagram(server, packet, wait)
    except socket.timeout:
        try:
            return datagram(server, packet, wait)
        except socket.timeout:
            raise Wrong("silence")


def connect(server):
    return socket.create_connection((server, 53), timeout=PATIENCE)


def exactly(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        want(more, "the connection was closed after %d of %d octets" % (len(data), count))
        data += more
    return data


def framed(packet):
    return struct.pack("!H", len(packet)) + packet


def one(sock):
    (length,) = struct.unpack("!H", exactly(sock, 2))
    return exactly(sock, length)


def tcp(server, packet):
    with connect(server) as sock:
        sock.sendall(framed(packet))
        return one(sock)


def parsed(wire):
    return dns.message.from_wire(wire, ignore_trailing=False, one_rr_per_rrset=False)


def rcode(wire):
    """The twelve bits, read without believing the rest of the message."""
    code = wire[3] & 15
    try:
        message = parsed(wire)
        return dns.rcode.to_text(message.rcode())
    except dns.exception.DNSException:
        return dns.rcode.to_text(code)


def ask(server, name, kind, by_tcp=False, **more):
    """A well-formed query and its parsed reply, of which everything holds that holds for all replies."""
    flags = more.pop("flags", 0)
    klass = more.pop("klass", "IN")
    query = dns.message.make_query(name, kind, klass, **more)
    query.flags = flags
    wire = (tcp if by_tcp else udp)(server, query.to_wire())
    reply = parsed(wire)
    sound(query, reply, wire, by_tcp)
    return reply


def sound(query, reply, wire, by_tcp):
    want(reply.id == query.id, "another id")
    want(reply.flags & dns.flags.QR, "no QR")
    want(not reply.flags & dns.flags.RA, "RA")
    want(not reply.flags & dns.flags.AD, "AD without DNSSEC")
    want(not wire[3] & 0x40, "Z")
    want(reply.opcode() == query.opcode(), "another opcode")
    want([str(q) for q in reply.question] == [str(q) for q in query.question], "another question %s" % reply.question)
    want((reply.edns >= 0) == (query.edns >= 0), "OPT in one of query and reply only")
    if not by_tcp:
        most = 512 if query.edns < 0 else min(1232, max(512, query.payload))
        want(len(wire) <= most, "%d octets where %d may be" % (len(wire), most))
    seen = set()
    for section in (reply.answer, reply.authority, reply.additional):
        for rrset in section:
            key = (rrset.name, rrset.rdtype)
            want(key not in seen, "%s %s stands in two sections" % (rrset.name, dns.rdatatype.to_text(rrset.rdtype)))
            seen.add(key)


def rrset(section, kind, name=None):
    kind = dns.rdatatype.from_text(kind)
    found = [r for r in section if r.rdtype == kind and (name is None or r.name == dns.name.from_text(name))]
    return found[0] if found else None


def words(found):
    return sorted(str(rdata).lower() for rdata in found or [])


def said(reply):
    code = dns.rcode.to_text(reply.rcode())
    return "%s %s %d/%d/%d" % (
        code,
        dns.flags.to_text(reply.flags),
        len(reply.answer),
        len(reply.authority),
        len(reply.additional),
    )


def negative(reply, code, apex):
    want(dns.rcode.to_text(reply.rcode()) == code, said(reply))
    want(reply.flags & dns.flags.AA, "no AA: " + said(reply))
    soa = rrset(reply.authority, "SOA")
    want(soa is not None and soa.name == dns.name.from_text(apex), "no SOA of %s: %s" % (apex, said(reply)))
    want(soa.ttl <= soa[0].minimum, "SOA with TTL %d above its minimum (RFC 2308 section 3)" % soa.ttl)


# ---- the list of checks

checks = []


def check(code, place, work):
    checks.append((code, place, work))


def perform(entry):
    code, place, work = entry
    try:
        work()
        return None
    except Wrong as wrong:
        return (code, place, str(wrong))
    except dns.exception.DNSException as broken:
        return (code, place, "%s: %s" % (type(broken).__name__, broken))
    except OSError as broken:
        return (code, place, "%s: %s" % (type(broken).__name__, broken))
    except Exception:  # a mistake of this file is a finding too
        return (code, place, traceback.format_exc().replace("\n", " "))


# ---- parent and child, over all servers


def consistency():
    ns_names, glue = delegation()
    for parent in parents:
        check("parent.consistent", parent, lambda parent=parent: same(delegation(parent), (ns_names, glue)))
    told = {}

    def soa(server):
        reply = ask(server, zone, "SOA")
        want(reply.flags & dns.flags.AA, "lame: " + said(reply))
        found = rrset(reply.answer, "SOA", zone)
        want(found is not None and len(reply.answer) == 1, said(reply))
        told[server] = found[0]

    def nameservers(server):
        for by_tcp in (False, True):
            reply = ask(server, zone, "NS", by_tcp=by_tcp)
            want(reply.flags & dns.flags.AA, "no AA")
            found = words(rrset(reply.answer, "NS", zone))
            want(found == ns_names, "NS %s, the parent has %s" % (found, ns_names))

    def hosts(server):
        for name in ns_names:
            for kind in ("A", "AAAA"):
                reply = ask(server, name, kind)
                want(reply.flags & dns.flags.AA, "no AA for %s" % name)
                want(rrset(reply.answer, "CNAME") is None, "%s is an alias (RFC 2181 section 10.3)" % name)
                found = words(rrset(reply.answer, kind, name))
                want(found == glue.get((name, kind), []), "%s %s: %s, glue is %s" % (name, kind, found, glue))

    for node, server in servers:
        check("soa", "%s %s" % (node, server), lambda server=server: soa(server))
        check("ns.as-at-parent", "%s %s" % (node, server), lambda server=server: nameservers(server))
        check("glue.as-at-parent", "%s %s" % (node, server), lambda server=server: hosts(server))
    check("ns.two", zone, lambda: want(len(ns_names) >= 2, "%s" % ns_names))
    for name in ns_names:
        both = [glue.get((name, kind)) for kind in ("A", "AAAA")]
        check("glue.both-families", name, lambda both=both: want(all(both), "%s" % both))

    def later():
        for field in ("serial", "mname", "rname", "refresh", "retry", "expire", "minimum"):
            values = {str(getattr(soa, field)) for soa in told.values()}
            check("soa.one-" + field, zone, lambda values=values: want(len(values) == 1, "%s" % sorted(values)))
        for server, soa in told.items():
            place = server
            check("soa.mname-is-ns", place, lambda s=soa: want(str(s.mname).lower() in ns_names, "%s" % s.mname))
            # The figures are those of Zonemaster's tests Zone02 to Zone06.
            check("soa.refresh", place, lambda s=soa: want(s.refresh >= 14400, "%d < 14400" % s.refresh))
            check("soa.retry", place, lambda s=soa: want(3600 <= s.retry < s.refresh, "%d: 3600 or more" % s.retry))
            check("soa.expire", place, lambda s=soa: want(s.expire >= max(604800, s.refresh), "%d" % s.expire))
            check("soa.minimum", place, lambda s=soa: want(300 <= s.minimum <= 86400, "%d: 300 or more" % s.minimum))

    return later


def same(found, wanted):
    want(found == wanted, "%s instead of %s" % (found, wanted))


def delegation(parent=None):
    reply = ask(parent or parents[0], zone, "NS", by_tcp=True)
    names = words(rrset(reply.authority, "NS", zone))
    glue = {}
    for found in reply.additional:
        glue[(str(found.name).lower(), dns.rdatatype.to_text(found.rdtype))] = words(found)
    return names, glue


# ---- what each server is asked

seen_cuts = {}


def plain(node, server):
    """What a resolver asks every day."""
    where = "%s %s" % (node, server)

    def add(code, work):
        check(code, where, work)

    add("nodata", lambda: negative(ask(server, zone, "DNSKEY"), "NOERROR", zone))
    add("nodata.ds-at-apex", lambda: negative(ask(server, zone, "DS"), "NOERROR", zone))
    add("nodata.empty-name", lambda: negative(ask(server, "down." + zone, "A"), "NOERROR", zone))
    add("nodata.ds-at-cut", lambda: negative(ask(server, "%s.%s" % (second, zone), "DS"), "NOERROR", zone))
    add("nxdomain", lambda: negative(ask(server, "no-such-name." + zone, "A"), "NXDOMAIN", zone))
    add("nxdomain.below-nxdomain", lambda: negative(ask(server, "a.no-such-name." + zone, "A"), "NXDOMAIN", zone))
    for name in ("www.shop.lab.", "lab.", ".", "example.com."):
        add("refused." + name, lambda name=name: refused(server, name))

    def referral():
        # A cut that this node does not serve, or serves: then it must be authoritative.
        for other in nodes:
            name = "www.%s.%s" % (other, zone)
            apex = "%s.%s" % (other, zone)
            reply = ask(server, name, "A")
            want(reply.rcode() == 0, "%s: %s" % (name, said(reply)))
            ns = rrset(reply.authority, "NS", apex)
            if reply.flags & dns.flags.AA:
                want(rrset(reply.answer, "A", name) is not None, "%s: %s" % (name, said(reply)))
                own = ask(server, apex, "SOA")
                want(own.flags & dns.flags.AA and rrset(own.answer, "SOA", apex) is not None, "no SOA at %s" % apex)
                continue
            want(not reply.answer and rrset(reply.authority, "SOA") is None, "%s: %s" % (name, said(reply)))
            want(ns is not None and len(ns) >= 2, "%s: no NS of the cut: %s" % (name, said(reply)))
            for target in ns:
                hosts = [r for r in reply.additional if r.name == target.target]
                want(hosts, "%s: no glue for %s (RFC 9471)" % (name, target.target))

    add("referral", referral)

    def cuts():
        # Nodes that do not serve a cut delegate it as those that serve it see it themselves.
        for other in nodes:
            apex = "%s.%s" % (other, zone)
            reply = ask(server, apex, "NS")
            section = reply.answer if reply.flags & dns.flags.AA else reply.authority
            told = words(rrset(section, "NS", apex))
            hosts = {(str(r.name), r.rdtype): words(r) for r in reply.additional}
            first_told, first_hosts = seen_cuts.setdefault(apex, (told, hosts))
            want(told == first_told, "NS of %s: %s, elsewhere %s" % (apex, told, first_told))
            want(hosts == first_hosts, "glue of %s: %s, elsewhere %s" % (apex, hosts, first_hosts))

    add("cut.consistent", cuts)

    def case():
        name = "".join(chance.choice((c.upper(), c.lower())) for c in "www." + zone)
        packet = header() + question(name, "A")
        wire = udp(server, packet)
        want(wire[12 : len(packet)] == packet[12:], "the question's letters changed")
        reply = parsed(wire)
        owner = str(reply.answer[0].name)
        want(owner == name, "the owner is %s, asked for %s" % (owner, name))

    add("case", case)

    def truncated():
        by_udp = ask(server, "large." + zone, "TXT")
        want(by_udp.flags & dns.flags.TC, "no TC: " + said(by_udp))
        whole = ask(server, "large." + zone, "TXT", by_tcp=True)
        want(not whole.flags & dns.flags.TC and len(whole.answer) == 1, said(whole))
        wide = ask(server, "large." + zone, "TXT", use_edns=0, payload=1232)
        want(words(wide.answer[0]) == words(whole.answer[0]), "UDP and TCP differ")

    add("truncated-then-tcp", truncated)

    def nsid():
        reply = ask(server, zone, "SOA", use_edns=0, options=[dns.edns.GenericOption(dns.edns.NSID, b"")])
        found = [o.data for o in reply.options if o.otype == dns.edns.NSID]
        want(found == [node.encode()], "%s" % found)

    add("nsid", nsid)

    def aliases():
        reply = ask(server, "inner." + zone, "A")
        want(reply.rcode() == 0 and reply.flags & dns.flags.AA, said(reply))
        want(str(rrset(reply.answer, "CNAME", "inner." + zone)[0].target) == "www." + zone, said(reply))
        reply = ask(server, "any.wild." + zone, "TXT")
        want(words(rrset(reply.answer, "TXT", "any.wild." + zone)) == ['"any"'], said(reply))
        reply = ask(server, "some.apps." + zone, "A")
        want(reply.rcode() == 0 and reply.answer, said(reply))
        reply = ask(server, zone, "A")
        want(reply.flags & dns.flags.AA and rrset(reply.answer, "A", zone) is not None, "apex: " + said(reply))
        reply = ask(server, "www." + zone, "HTTPS")
        want(reply.rcode() == 0 and reply.answer, "HTTPS: " + said(reply))

    add("records", aliases)
    add("edns.version-1", lambda: badvers(server))

    def by_tcp():
        ids = list(range(0x4000, 0x400A))
        data = b"".join(framed(header(ident=i) + question("www." + zone, "A")) for i in ids)
        with connect(server) as sock:
            sock.sendall(data)
            want(sorted(parsed(one(sock)).id for _ in ids) == ids, "not all of ten pipelined")
            sock.sendall(framed(header(ident=7) + question(zone, "SOA")))
            want(parsed(one(sock)).id == 7, "no reply after the ten")

    add("tcp.pipelined", by_tcp)
    add("axfr", lambda: code_is(tcp(server, header() + question(zone, "AXFR")), "REFUSED"))


def refused(server, name):
    reply = ask(server, name, "A")
    want(dns.rcode.to_text(reply.rcode()) == "REFUSED", said(reply))
    want(not reply.answer and not reply.authority and not reply.additional, "not empty: " + said(reply))


def code_is(wire, *codes):
    code = rcode(wire)
    want(code in codes, "%s where %s should be" % (code, " or ".join(codes)))
    want(wire[2] & 0x80, "no QR")
    return wire


def badvers(server, data=b""):
    # 8.2.2, 8.2.4: "expect BADVERS", version 0, nothing of the answer.
    wire = udp(server, header(ar=1) + question(zone, "SOA") + opt(ttl=1 << 16, data=data))
    reply = parsed(wire)
    want(dns.rcode.to_text(reply.rcode()) == "BADVERS", said(reply))
    want(reply.edns == 0 and not reply.answer, "version %d, %s" % (reply.edns, said(reply)))
    want(not reply.options, "options %s" % (reply.options,))


def not_done(server, opcode, soa, way=udp):
    # dnspython does not read messages of opcodes that it does not know.
    for packet in (header(opcode << 11) + soa, header(opcode << 11, qd=0), header(opcode << 11) + b"\xff" * 9):
        wire = way(server, packet)
        want(wire[2] & 0x80 and wire[2] >> 3 & 15 == opcode, "header %s" % wire[:12].hex())
        want(wire[3] & 15 == 4, "code %d where NOTIMP should be" % (wire[3] & 15))
        want(len(wire) <= len(packet), "longer than the query")


def exotic(node, server):
    """What nobody should ask."""
    where = "%s %s" % (node, server)
    soa = question(zone, "SOA")

    def add(code, work):
        check(code, where, work)

    def good(code, packet, more=None):
        def work():
            wire = code_is(udp(server, packet), "NOERROR")
            reply = parsed(wire)
            want(reply.flags & dns.flags.AA and rrset(reply.answer, "SOA") is not None, said(reply))
            if more:
                more(reply, wire)

        add(code, work)

    def gives(code, packet, *codes, way=udp):
        add(code, lambda: parsed(code_is(way(server, packet), *codes)))

    def silent(code, packet):
        def work():
            try:
                wire = datagram(server, packet, SILENCE)
            except socket.timeout:
                return
            raise Wrong("answered with %s" % wire[:12].hex())

        add(code, work)

    # 8.1.2, 8.1.3: types, and bits of the header
    for kind in list(range(1, 128)) + [255, 256, 257, 258, 259, 260, 1000, 32768, 32769, 65280, 65534, 65535]:
        if kind != 41:
            gives("type.%d" % kind, header() + question("www." + zone, kind), "NOERROR")
            gives("type-at-apex.%d" % kind, header() + question(zone, kind), "NOERROR")
    for kind in (0, 41, 128, 249, 250, 251, 252, 253, 254):
        gives("meta-type.%d" % kind, header() + question(zone, kind), "NOERROR", "FORMERR", "NOTIMP", "REFUSED")
    for bit in (0x0400, 0x0200, 0x0100, 0x0080, 0x0040, 0x0020, 0x0010, 0x07F0):
        good("header-bit.%04x" % bit, header(bit) + soa)
    for klass in (0, 2, 3, 4, 254, 255, 256, 65280):
        codes = ("REFUSED", "FORMERR", "NOTIMP", "NOERROR" if klass == 255 else "REFUSED")
        gives("class.%d" % klass, header() + question(zone, "A", klass), *codes)
    for name in ("version.bind.", "hostname.bind.", "id.server.", "version.server."):
        gives("chaos." + name, header() + question(name, "TXT", 3), "REFUSED", "NOERROR")

    # 8.1.4: opcodes
    for opcode in range(1, 16):
        add("opcode.%d" % opcode, lambda opcode=opcode: not_done(server, opcode, soa))
    add("opcode.tcp", lambda: not_done(server, 15, soa, tcp))
    update = header(5 << 11, ns=1) + soa + octets("new." + zone) + struct.pack("!HHIH", 1, 1, 60, 4) + bytes(4)
    gives("update", update, "NOTIMP", "REFUSED", "NOTAUTH")
    gives("update.tcp", update, "NOTIMP", "REFUSED", "NOTAUTH", way=tcp)
    gives("notify", header((4 << 11) | 0x0400) + soa, "NOTIMP", "REFUSED", "NOTAUTH")
    gives("axfr.udp", header() + question(zone, "AXFR"), "REFUSED", "FORMERR", "NOTIMP")
    soa_data = octets("a.") + octets("b.") + struct.pack("!5I", 1, 1, 1, 1, 1)
    ixfr = header(ns=1) + question(zone, "IXFR") + octets(zone) + struct.pack("!HHIH", 6, 1, 0, len(soa_data))
    gives("ixfr", ixfr + soa_data, "REFUSED", "NOTIMP", way=tcp)
    gives("ixfr.udp", ixfr + soa_data, "REFUSED", "NOTIMP")

    # 8.2: EDNS
    def edns(reply, _):
        want(reply.edns == 0, "EDNS %d" % reply.edns)

    good("edns", header(ar=1) + soa + opt(), edns)
    good("edns.tcp-size-0", header(ar=1) + soa + opt(size=0), edns)
    good("edns.size-65535", header(ar=1) + soa + opt(size=65535), edns)
    good("edns.unknown-option", header(ar=1) + soa + opt(data=option(100)), lambda r, w: want(not r.options, "echoed"))
    good("edns.unknown-options", header(ar=1) + soa + opt(data=option(100, b"x" * 30) * 20), edns)
    good("edns.flags", header(ar=1) + soa + opt(ttl=0x0080), lambda r, w: want(not r.ednsflags & 0x7FFF, "Z came back"))
    good("edns.do", header(ar=1) + soa + opt(ttl=0x8000), lambda r, w: want(r.ednsflags & 0x8000, "DO went away"))
    add("edns.version-1-option", lambda: badvers(server, option(100)))

    def versions():
        for version in (2, 3, 127, 255):
            wire = udp(server, header(ar=1) + soa + opt(ttl=version << 16))
            want(rcode(wire) == "BADVERS", "version %d: %s" % (version, rcode(wire)))

    add("edns.versions", versions)

    def large():
        for size in (0, 100, 511, 512):
            wire = udp(server, header(ar=1) + question("large." + zone, "TXT") + opt(size=size, ttl=0x8000))
            want(len(wire) <= 512 and wire[2] & 2, "size %d: %d octets, TC %d" % (size, len(wire), wire[2] & 2))
            want(parsed(wire).edns == 0, "no OPT in a truncated reply (8.2.7)")

    add("edns.truncated", large)
    gives("edns.two", header(ar=2) + soa + opt() + opt(), "FORMERR")
    gives("edns.not-root", header(ar=1) + soa + opt(owner=octets("a.")), "FORMERR")
    gives("edns.in-answer", header(an=1) + soa + opt(), "FORMERR")
    gives("edns.option-too-long", header(ar=1) + soa + opt(data=struct.pack("!2H", 100, 9) + b"x"), "FORMERR")
    gives("edns.option-cut", header(ar=1) + soa + opt(data=b"\0"), "FORMERR")

    # RFC 7873: cookies
    mine = bytes(range(8))

    def cookies():
        def cookie(data, **more):
            reply = ask(server, zone, "SOA", use_edns=0, options=[dns.edns.GenericOption(10, data)], **more)
            found = [o.data for o in reply.options if o.otype == 10]
            want(len(found) == 1 and found[0][:8] == mine, "%s %s" % (said(reply), found))
            return found[0]

        theirs = cookie(mine)
        want(len(theirs) == 24, "%d octets, RFC 9018 has 24" % len(theirs))
        want(cookie(theirs)[:8] == mine, "not taken back")
        cookie(mine + b"wrong cookie 123")
        cookie(mine + b"wrong cookie 123", by_tcp=True)
        for data in (mine[:7], mine + b"short", mine * 6, b""):
            wire = udp(server, header(ar=1) + soa + opt(data=option(10, data)))
            want(rcode(wire) == "FORMERR", "%d octets: %s" % (len(data), rcode(wire)))
        wire = udp(server, header(qd=0, ar=1) + opt(data=option(10, mine)))
        want(rcode(wire) == "NOERROR", "no question (RFC 7873 section 5.4): " + rcode(wire))

    add("cookies", cookies)

    # RFC 7871: client subnets
    def subnets():
        for family, bits, address in ((1, 24, "0a3100"), (1, 0, ""), (1, 32, "0a310001"), (2, 56, "fd00001000490000"[:14])):
            data = struct.pack("!HBB", family, bits, 0) + bytes.fromhex(address)
            query = header(ar=1) + question(zone, "A") + opt(data=option(8, data))
            reply = parsed(code_is(udp(server, query), "NOERROR"))
            found = [o for o in reply.options if o.otype == 8]
            want(len(found) == 1, "%d subnets came back" % len(found))
            want(found[0].srclen == bits, "source length %d" % found[0].srclen)
            want(found[0].scopelen <= (32, 128)[family - 1], "scope %d" % found[0].scopelen)
        for text in ("0001180a31", "0003180000000000", "000118080a3100", "000114000a31ff", "00012100ffffffffff", "0001"):
            wire = udp(server, header(ar=1) + soa + opt(data=option(8, bytes.fromhex(text))))
            want(rcode(wire) == "FORMERR", "%s: %s" % (text, rcode(wire)))

    add("ecs", subnets)

    # RFC 9619, RFC 9267: counts, names, pointers
    gives("questions.none", header(qd=0), "FORMERR")
    gives("questions.two", header(qd=2) + soa + soa, "FORMERR")
    gives("questions.said-two", header(qd=2) + soa, "FORMERR")
    gives("counts.answer", header(an=1) + soa, "FORMERR")
    gives("counts.lies", header(an=65535, ns=65535, ar=65535) + soa, "FORMERR")
    gives("trailing", header() + soa + b"x", "FORMERR", "NOERROR")
    tail = struct.pack("!2H", 1, 1)
    gives("pointer.to-itself", header() + b"\xc0\x0c" + tail, "FORMERR")
    gives("pointer.forward", header() + b"\xc0\x12" + tail + b"\1a\0", "FORMERR")
    gives("pointer.to-header", header() + b"\3www\xc0\x00" + tail, "FORMERR")
    gives("pointer.loop", header() + b"\1a\xc0\x0c" + tail, "FORMERR")
    gives("label.type-01", header() + b"\x41\0" + tail, "FORMERR")
    gives("label.type-10", header() + b"\x80\0" + tail, "FORMERR")
    gives("name.too-long", header() + b"\x3f" + b"a" * 63 + b"\x3f" + b"b" * 63 + (b"\x3f" + b"c" * 63) * 2 + b"\0" + tail, "FORMERR")
    gives("name.cut", header() + b"\x07www", "FORMERR")
    gives("name.odd-octets", header() + b"\4\0\xff. " + octets(zone) + tail, "NXDOMAIN")
    compressed = header(ar=1) + question(zone, "A") + b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + bytes(4)
    gives("additional.compressed", compressed, "NOERROR", "FORMERR")
    silent("response", header(0x8000) + soa)
    silent("short", header()[:11])
    silent("empty", b"")

    # RFC 8945, RFC 2931: signatures that nobody can check
    def tsig():
        query = dns.message.make_query(zone, "SOA")
        query.use_tsig(dns.tsigkeyring.from_text({"key.": "c2VjcmV0"}), "key.")
        packet = query.to_wire()
        wire = udp(server, packet)
        want(wire[3] & 15 == 9, "code %d where NOTAUTH should be" % (wire[3] & 15))
        # The TSIG at the end: its error stands before the length of its other data.
        want(wire[-4:] == struct.pack("!2H", 17, 0), "no BADKEY at the end: %s" % wire[-8:].hex())

    add("tsig.unknown-key", tsig)

    # RFC 7766: TCP
    def slowly():
        with connect(server) as sock:
            for octet in framed(header() + soa):
                sock.send(bytes([octet]))
            want(rcode(one(sock)) == "NOERROR", "octet by octet")

    def halves():
        two = framed(header(ident=1) + soa) + framed(header(ident=2) + soa)
        with connect(server) as sock:
            sock.sendall(two[:-9])
            want(parsed(one(sock)).id == 1, "the first")
            sock.sendall(two[-9:])
            want(parsed(one(sock)).id == 2, "the second")

    def half_closed():
        with connect(server) as sock:
            sock.sendall(framed(header() + soa))
            sock.shutdown(socket.SHUT_WR)
            want(rcode(one(sock)) == "NOERROR", "after a FIN")

    def keepalive():
        with connect(server) as sock:
            sock.sendall(framed(header(ar=1) + soa + opt(data=option(11))))
            reply = parsed(one(sock))
            found = [o for o in reply.options if o.otype == 11]
            want(len(found) == 1 and len(found[0].data) == 2, "%s" % (reply.options,))
        reply = parsed(udp(server, header(ar=1) + soa + opt(data=option(11))))
        want(not reply.options, "a timeout by UDP (RFC 7828 section 3.2.2)")

    def after_malformed():
        with connect(server) as sock:
            sock.sendall(framed(header(qd=0)) + framed(header(ident=9) + soa))
            want(rcode(one(sock)) == "FORMERR", "the malformed one")
            want(parsed(one(sock)).id == 9, "nothing after a malformed one")

    add("tcp.octet-by-octet", slowly)
    add("tcp.in-halves", halves)
    add("tcp.half-closed", half_closed)
    add("tcp.keepalive", keepalive)
    add("tcp.after-malformed", after_malformed)

    # RFC 8482
    def any_type():
        for name in (zone, "www." + zone):
            reply = ask(server, name, "ANY", use_edns=0, payload=4096)
            want(reply.rcode() == 0 and len(reply.answer) == 1, "%s: %s" % (name, said(reply)))

    add("any", any_type)


def main():
    later = consistency()
    for node, server in servers:
        plain(node, server)
        if not fast or server == nodes[first][0]:
            exotic(node, server)
    count = 0
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        # The far ones first and mixed, so that no server gets its questions all at once.
        chance.shuffle(checks)
        found = list(pool.map(perform, checks))
        count += len(checks)
        checks.clear()
        later()
        found += list(pool.map(perform, checks))
        count += len(checks)
    for finding in sorted(filter(None, found)):
        print("FINDING " + "\t".join(" ".join(part.split()) for part in finding))
    print("DONE %d" % count)


main()
