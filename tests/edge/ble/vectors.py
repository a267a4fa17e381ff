"""The vectors of the Lintel lock profile: both seeds, both ephemeral keys, every message of one session."""

GATEWAY_SEED = bytes(range(0x20))
LOCK_SEED = bytes(range(0x20, 0x40))
GATEWAY_EPHEMERAL = bytes(range(0x40, 0x60))
LOCK_EPHEMERAL = bytes(range(0x60, 0x80))

GATEWAY = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
LOCK = bytes.fromhex("29acbae141bccaf0b22e1a94d34d0bc7361e526d0bfe12c89794bc9322966dd7")
HELLO = bytes.fromhex("01010156475aa75463474c79a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51a")
HELLO_ACK = bytes.fromhex(
    "02675dd574ed7789310b3d2e7681f3790b466c773b1521fecf36577958371ea52ffb805d4b679fa38818ea10f88e4cf682f7bb022ce725e1"
    "59e1a83d4cab16cc828110297448256230ff17c53d4de2a2896da8a90bad3560121d32d542058eeb0d"
)
AUTH = bytes.fromhex(
    "030306e3a9329128e6810b6f4d16a38e9fd63d8b6e6b3ce712dc7f12e6d515d1fd25dbb01ff57ddf802b8f54aeb6ff0144026e097c2982be"
    "a9a9d6fa2acb10c80e"
)
READY = (
    bytes.fromhex("040300290000003c00"),
    bytes.fromhex("100000000044219d58dbf1e3514887d6b1639bd8311624acb55a87e109f0"),
)
GET_CHALLENGE = bytes.fromhex("20"), bytes.fromhex("1000000000352ef8847b3fb96ffea54359aaa5b530df")
CHALLENGE = (
    bytes.fromhex("21a0a1a2a3a4a5a6a7a8a9aaabacadaeaf8813"),
    bytes.fromhex("10010000002023803c385000d129e66c3f29a71cc28ac12ffebbcda95d595557c822b2af369a21ba"),
)
COMMAND = (
    bytes.fromhex("220190f3a000007000800000000000000102320000000000a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"),
    bytes.fromhex(
        "10010000004ec4e3a98c3ee8ef780dcfbcdbdf3c36ed398ae904a34c6b3eeee48fa91f02c17add9a4e8b2eb3f0341ffa19b7a4c80f23d213"
        "4487b38ee4"
    ),
)
ACCEPTED = (
    bytes.fromhex("230190f3a000007000800000000000000100"),
    bytes.fromhex("1002000000ecc25e17d09a29a8c3bc8de4f53f487c7d5b48da01cb5f94cecc1648765befc37e0d"),
)
RESULT = (
    bytes.fromhex("240190f3a00000700080000000000000010003022a000000"),
    bytes.fromhex("10030000005355b3da2827a7d5ad84fc5dae29a819308ac329db5a6b3f1e221b2bf0185d69e79dc9a1463f9c98"),
)
FRAGMENTS = [
    bytes.fromhex("0001010156475aa75463474c79a631eede1bf9c9"),
    bytes.fromhex("018f12032cdeadd0e7a079398fc786b88cc846ec"),
    bytes.fromhex("8289af85a51a"),
]
SECRET = bytes(range(0x70, 0x80))
NAME = b"lintel-gw-01"
PAIR_PROOF = bytes.fromhex("f30ecba26b7ec39c7b4baef0e6693fe16b5e230cdb04f54608b83153fc92a6bd")
PAIRED_PROOF = bytes.fromhex("c8c92d02e8ca72f52e7000a2479c58568b7b059447bccf538e72b2788ea1d0a0")
COMMAND_ID = bytes.fromhex("0190f3a0000070008000000000000001")
