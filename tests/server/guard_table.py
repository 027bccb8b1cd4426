"""Addresses that no request may reach, in every spelling, and others that must pass."""

from ipaddress import IPv4Address

FORBIDDEN4 = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.254",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
]
FORBIDDEN6 = [
    "::",
    "::1",
    "fc00::1",
    "fd00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "3fff::1",
    "100::1",
    "64:ff9b:1::7f00:1",
    "5f00::1",
    "4000::1",
    "2001:1::1",
    "::ffff:0:127.0.0.1",
    "2001:4860::200:5efe:7f00:1",
    "2001:0:7f00:1::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "192.167.1.1",
    "198.17.1.1",
    "198.20.1.1",
    "223.255.255.254",
    "169.253.1.1",
    "11.0.0.1",
    "2606:4700::1111",
    "2001:4860:4860::8888",
    "2a00:1450::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
    "2001:0:808:808::f7f7:f7f7",
    "2400:cb00::1",
]


_WIDE = str.maketrans("0123456789.", "０１２３４５６７８９．")
_CIRCLED = str.maketrans("0123456789", "⓪①②③④⑤⑥⑦⑧⑨")


def lookalikes(address: str) -> list[str]:
    """What IDNA (UTS 46) makes an IPv4 address of, or a careless reader."""
    a, b, c, d = address.split(".")
    return [
        address.translate(_WIDE),
        address.translate(_CIRCLED),
        address.replace(".", "\u3002"),
        address.replace(".", "\uff0e"),
        address.replace(".", "\uff61"),
        address.replace(".", "%2e"),
        "".join(f"%{ord(char):02x}" for char in address),
        f"{a}\u3002{b}.{c}\uff0e{d}\u3002",
        f"0x{int(a):x}\u3002{int(b)}.{c}.{d}".translate(_WIDE),
    ]


def spellings(address: str) -> list[str]:
    """The ways to write an IPv4 address in a URL's host."""
    a, b, c, d = address.split(".")
    number = int(IPv4Address(address))
    tail = f"{number >> 16:x}:{number & 0xFFFF:x}"
    hidden = number ^ 0xFFFFFFFF
    return [
        address,
        f"{address}.",
        str(number),
        hex(number),
        f"0X{number:08X}",
        f"0{number:o}",
        f"{int(a):#x}.{int(b):#x}.{int(c):#x}.{int(d):#x}",
        f"0{int(a):o}.0{int(b):o}.0{int(c):o}.0{int(d):o}",
        f"{a}.{b}.{int(c) * 256 + int(d)}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{int(b):#x}.0{int(c):o}.{d}",
        f"[::ffff:{address}]",
        f"[::ffff:{tail}]",
        f"[0:0:0:0:0:ffff:{tail}]",
        f"[::{address}]",
        f"[64:ff9b::{address}]",
        f"[2002:{tail}::1]",
        f"[2001:0:808:808:0:0:{hidden >> 16:x}:{hidden & 0xFFFF:x}]",
    ]


def hostile_urls() -> list[str]:
    """Well over two hundred URLs that must never be connected."""
    hosts = [host for address in FORBIDDEN4 for host in spellings(address)]
    hosts += [f"[{address}]" for address in FORBIDDEN6]
    urls = [f"http://{host}/" for host in hosts] + [f"https://{host}:8443/x?y" for host in hosts[:60]]
    return [
        *urls,
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://METADATA.google.internal./",
        "http://metadata/",
        "http://instance-data/latest",
        "http://example.com:22/",
        "http://example.com:6379/",
        "https://example.com:25/",
        "http://1.1.1.1:11211/",
        "http://loopback.test/",
        "http://mapped.test/",
        "http://private.test:8080/",
        "http://metadata.test/",
        "http://linklocal6.test/",
    ]


def userinfo_urls() -> list[str]:
    """URLs whose host is not where it seems to be. All lead home."""
    return [
        "http://1.1.1.1@127.0.0.1/",
        "http://example.com@127.0.0.1:80/",
        "http://example.com:443@127.0.0.1/x",
        "http://example.com%40@10.0.0.1/",
        "http://user:pass@0x7f.1/",
        "http://user:p%2Fw@169.254.169.254/",
        "http://a:b@[::1]/",
        "http://a@b@127.0.0.1/",
        "http://1.1.1.1@loopback.test/",
        "http://1.1.1.1&@127.0.0.1#@1.1.1.1/",
        "http://127.0.0.1#@example.com/",
        "http://127.0.0.1?@example.com/",
        "http://127.0.0.1/@example.com/",
        "http://127.0.0.1:80@127.0.0.1:80/",
        "https://metadata@metadata/",
        "http://①②⑦.⓪.⓪.①@127.0.0.1/",
    ]


def idna_urls() -> list[str]:
    """Names and addresses in other letters. All lead home."""
    hosts = [host for address in FORBIDDEN4 for host in lookalikes(address)]
    hosts += [
        "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
        "localhost\u3002",
        "loopback\uff0etest",
        "ｌｏｏｐｂａｃｋ.test",
        "METADATA．google．internal",
    ]
    hosts += ["metadata\u3002google\u3002internal", "ⓜⓔⓣⓐⓓⓐⓣⓐ", "xn--loopback-.test", "loop\u00adback.test"]
    return [f"http://{host}/" for host in hosts]


NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "xn--loopback-.test": ["127.0.0.1"],
    "loopback.test": ["127.0.0.1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "private.test": ["10.0.0.1", "192.168.1.1", "fd00::1"],
    "metadata.test": ["169.254.169.254"],
    "linklocal6.test": ["fe80::1%2"],
}
