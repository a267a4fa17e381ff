"""The part of `chinese` about devices at work: their person lists, and what the running gateway says of them."""

from typing import Final

DEVICES: Final = {
    # the simulated Bluetooth adapter
    "locks is a JSON list of objects: {}": "locks 应为对象组成的 JSON 列表:{}",
    "which lock? name is one of {}": "哪把门锁?name 为以下之一:{}",
    "the adapter is not on yet": "适配器尚未启动",
    "dbus-daemon is not installed; run: apt-get install dbus-daemon": (
        "未安装 dbus-daemon;请运行:apt-get install dbus-daemon"
    ),
    "dbus-daemon ended with {}": "dbus-daemon 已退出,状态 {}",
    # person lists of terminals
    "there is no device {}; known are {}": "没有设备 {};已知的有 {}",
    "{} is in the configuration with a person list: take it out first": "{} 仍在配置中并有人员名单:请先移出配置",
    "nobody is known to be on {}": "没有 {} 的人员记录",
    "{} keeps no person list that the gateway could mend": "{} 没有网关可以维护的人员名单",
    "an install window lasts up to {} minutes": "安装窗口最长 {} 分钟",
    "a photo in base64": "base64 编码的照片",
    "a photo of at most {} kB": "不超过 {} kB 的照片",
    "a JPEG photo": "JPEG 照片",
    "the value of a face on the allowlist": "名单上某个人脸凭证的值",
    "a person who has consented: no photo is kept without consent": "已同意的人员:未经同意不保存照片",
    "a face that is not revoked": "未吊销的人脸凭证",
    "person lists rest while nothing can be stored": "无法写入存储期间,人员名单暂停维护",
    "the person lists can not be read: {}": "人员名单无法读取:{}",
    "an address such as 'https://192.0.2.10/faces/{}person}.jpg'": "地址,如 https://192.0.2.10/faces/{}person}.jpg",
    "persons with id, name, valid_from, valid_to, photo and url": (
        "人员应有 id、name、valid_from、valid_to、photo 和 url"
    ),
    "a command of {} bytes": "一条 {} 字节的指令",
    "off line": "离线",
    "the allowlist was lost: nobody is sent or deleted before a whole one is here": (
        "名单已丢失:在导入完整名单之前,不下发也不删除任何人"
    ),
    "the allowlist is an older one: nobody is sent before a whole one is here, and only who was revoked is deleted": (
        "名单是旧的:在导入完整名单之前不下发任何人,只删除已吊销的人员"
    ),
    "it is not known what time it is: nobody with a validity is sent, and nobody is deleted by it": (
        "时间不可信:不下发有有效期的人员,也不因有效期删除任何人"
    ),
    "the terminal is not there, or the line is down": "终端不在线,或线路中断",
    "the terminal is busy: {}": "终端忙:{}",
    "the terminal does not say who is on it": "终端没有回答其名单",
    "the terminal's list can not be read, or is cut off": "终端的名单无法读取或不完整",
    "the terminal did not answer the deletion that goes before": "终端没有回答下发前的删除指令",
    "this terminal takes {} characters": "此终端最多接受 {} 个字符",
    "the line has no photo_url": "线路没有 photo_url",
    "no photo is here": "网关中没有照片",
    "no answer": "没有回答",
    "a command with an answer: what nobody confirms is stored nowhere": "带有应答的指令:无人确认的不算已存储",
    "a command with a field 'person_id', 'person_ids' or 'persons'": "带有 person_id、person_ids 或 persons 字段的指令",
    "1: the command {} takes one person": "1:指令 {} 只接受一个人",
    "expected no field about persons: 'mqtt.persons' does not name it": "不得有人员字段:mqtt.persons 没有引用此指令",
    "together with 'query'": "与 query 同时出现",
}
