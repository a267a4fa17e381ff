"""What Lintel says when something is wrong, in Chinese. `text.told` looks it up when a message reaches a terminal.

Left the English as it is raised, `{}` where a value stands; right the Chinese, with as many, in the same order. A key
without "expected" also serves the text that begins with it. `tests/edge/test_text.py` compares this with the code.
"""

from typing import Final

from lintel.edge.chinese_devices import DEVICES

PHRASES: Final = DEVICES | {
    "no MQTT broker: 'apt-get install mosquitto' as root, or start it by ./lintel demo": (
        "没有 MQTT 代理:以 root 运行 apt-get install mosquitto,或用 ./lintel demo 启动"
    ),
    # files and keys
    "{}: {} mistake": "{}:{} 处错误",
    "{}: {} mistakes": "{}:{} 处错误",
    "expected this key: it is required": "缺少此键:它是必需的",
    "expected no such key: it is unknown here": "此处没有这个键,请删除",
    "expected no such field; known are {}": "没有这个字段;已知的有 {}",
    "a readable file: {}": "可读的文件:{}",
    "UTF-8 text": "UTF-8 文本",
    "TOML: {}": "TOML 格式:{}",
    "JSON: {}": "JSON 格式:{}",
    "text: {}": "文本:{}",
    "well-formed CSV: {}": "格式正确的 CSV:{}",
    "at most {} kB": "不超过 {} kB",
    "at most {} MB": "不超过 {} MB",
    "at most {} levels of nesting": "不超过 {} 层嵌套",
    "at most {} dots": "一行不超过 {} 个点",
    "at most a few levels of nesting": "只有几层嵌套",
    # what a value may be, in pydantic's words
    "greater than or equal to {}": "不小于 {}",
    "less than or equal to {}": "不大于 {}",
    "greater than {}": "大于 {}",
    "less than {}": "小于 {}",
    "a finite number": "有限的数",
    "a valid integer": "整数",
    "a valid integer, {}": "整数({})",
    "a valid number": "数字",
    "a valid number, {}": "数字({})",
    "a valid string": "文本",
    "a valid boolean": "true 或 false",
    "a valid boolean, {}": "true 或 false({})",
    "a valid tuple": "列表",
    "a valid array": "列表",
    "a valid list": "列表",
    "a valid dictionary": "表",
    "an object": "表",
    "input is not a valid path for {}": "路径({})",
    "tuple should have at least {} item{} after validation, not {}": "至少 {} 项{},而不是 {} 项",
    "tuple should have at most {} item{} after validation, not {}": "至多 {} 项{},而不是 {} 项",
    "string should have at least {} character{}": "至少 {} 个字符{}",
    "string should have at most {} character{}": "至多 {} 个字符{}",
    "array should have at least {} item{} after validation, not {}": "至少 {} 项{},而不是 {} 项",
    "array should have at most {} item{} after validation, not {}": "至多 {} 项{},而不是 {} 项",
    "string should match pattern {}": "符合 {} 的文本",
    "input tag {} found using 'driver' does not match any of the expected tags: {}": "已知的驱动(不是 {}):{}",
    "input tag {} found using {} does not match any of the expected tags: {}": "已知的种类(不是 {},见 {}):{}",
    "unable to extract tag using discriminator {}": "带有 {} 的表",
    "a valid dictionary or instance of {}": "表({})",
    "'{}' or '{}'": "'{}' 或 '{}'",
    # the gateway's file
    "an id used once": "只使用一次的 id",
    "an address used once on its chip": "同一芯片上只使用一次的地址",
    "an address used once on its line": "同一线路上只使用一次的地址",
    "a serial port used once": "只用于一条线路的串口",
    "the id of a [[{}]]: there is none": "一个 [[{}]] 的 id:目前一个也没有",
    "the id of a [[door]]: '*' is for what is a fire input and nothing else": (
        "一个 [[door]] 的 id:'*' 只用于仅作消防输入的设备"
    ),
    "a lock and channel of its own: {} has the same": "单独使用的门锁和通道:{} 已使用同一个",
    "the id of a [[{}]]: {}": "一个 [[{}]] 的 id:{}",
    "a device that opens doors: its profile has no command 'open'": "能开门的设备:其档案没有 open 指令",
    "0, or no such key: the command 'open' of {} names no channel": "0,或不写此键:{} 的 open 指令不带通道",
    "a profile for {}; {} is for {}": "用于 {} 的档案;{} 用于 {}",
    "at least one [[device]] with line = {}": "至少一个 line = {} 的 [[device]]",
    "one [[device]]: a QR reader has its serial port to itself": "一个 [[device]]:二维码读头独占串口",
    "the device's own MQTT id or serial number": "设备自己的 MQTT 编号或序列号",
    "this key beside {}: without it the connection is not encrypted": "同时写上此键和 {}:没有它,连接不会加密",
    "this key beside 'key'": "同时写上此键和 key",
    "up to 64 letters, digits, '_', '.' and '-', beginning with a letter or digit": (
        "最多 64 个字母、数字、_ . -,以字母或数字开头"
    ),
    "the name of a credential, as in credentials/NAME: the password itself stands in no file": (
        "凭证的名称,如 credentials/NAME:口令本身不写在任何文件中"
    ),
    "a number from 0 to {}: {} opens no more": "0 至 {} 的数:{} 没有更多可开的门锁",
    "there is no store, and none can stand in for it: {}": "没有存储,也无法用内存代替:{}",
    "the store can not be opened, so nothing can be kept; lintel status says why": (
        "存储无法打开,因此不能保存任何内容;原因见 lintel status"
    ),
    "there is no store to keep it in": "没有可保存它的存储",
    "there is no store to keep a device's key in": "没有可保存设备密钥的存储",
    "an absolute path such as '/dev/serial/by-id/usb-...'": "绝对路径,如 /dev/serial/by-id/usb-...",
    "the device's id in its topics, without '/', '+', '#', braces and spaces": (
        "设备在主题中的编号,不含 / + #、花括号和空格"
    ),
    "an id of its own: device {} has the same": "自己的编号:设备 {} 的编号与它相同",
    "one of {}": "以下之一:{}",
    "unknown time zone {}; did you mean {}?": "已知的时区,不是 {};您是指 {} 吗?",
    "unknown time zone {}; write it like Asia/Shanghai or Europe/Berlin": (
        "已知的时区,不是 {};写作 Asia/Shanghai 或 Europe/Berlin"
    ),
    "the profile of an MQTT device": "MQTT 设备的档案",
    "expected the package gpiod: pip install 'lintel[gpio]', or from a clone LINTEL_LEVEL=lines ./lintel ...": (
        "缺少 gpiod 包:pip install 'lintel[gpio]',或在源码目录运行 LINTEL_LEVEL=lines ./lintel ..."
    ),
    "expected no such key: 'chip' is the option of gpio": "没有这个键:gpio 的选项是 chip",
    "a profile with driver 'gpio'": "driver 为 gpio 的档案",
    "expected the package bleak: pip install 'lintel[ble]', or from a clone LINTEL_LEVEL=lines ./lintel ...": (
        "缺少 bleak 包:pip install 'lintel[ble]',或在源码目录运行 LINTEL_LEVEL=lines ./lintel ..."
    ),
    "a profile with driver 'ble_lock'": "driver 为 ble_lock 的档案",
    "at most {} locks on one adapter": "一个适配器最多 {} 把锁",
    "a Bluetooth address such as 'C4:7F:51:00:12:AB'": "蓝牙地址,如 C4:7F:51:00:12:AB",
    "'open' as one of {}": "open 为以下之一:{}",
    "{} in the order, as hex": "开门指令中以十六进制写 {}",
    "the line's offset on the chip, or its name": "线在芯片上的偏移号,或线的名称",
    "a profile with driver 'serial_qr'": "driver 为 serial_qr 的档案",
    "expected no such key: 'path' and 'baud' are the options of {}": "没有这个键:{} 的选项是 path 和 baud",
    "a profile with driver 'osdp'": "driver 为 osdp 的档案",
    "1 to {} devices on an OSDP line, not {}": "一条 OSDP 线路上 1 至 {} 台设备,而不是 {} 台",
    "its own number on the bus, 0 to 126": "它在总线上自己的编号,0 至 126",
    "an order of this reader: {}": "该读卡器的一种指令:{}",
    "a channel from 0 to {}": "0 至 {} 的通道",
    "a number as {}": "数字形式的 {}",
    "a text of 1 to 32 ASCII characters": "1 至 32 个 ASCII 字符的文本",
    "spans inside the card's bits": "卡位数之内的范围",
    "a card with too many bits": "卡的位数过多",
    "a card whose parity is wrong": "卡的校验位不对",
    "a card of another length": "卡的长度不符",
    "expected no such key: 'source', 'username' and 'password' are the options of camera": (
        "没有这个键:camera 的选项是 source、username 和 password"
    ),
    "exactly one device on a camera's line, not {}": "一条摄像机线路上正好一台设备,而不是 {} 台",
    "a profile with driver 'camera'": "driver 为 camera 的档案",
    "{} to be installed: {}": "已安装 {}:{}",
    "an address that begins with {}, as its profile says": "以 {} 开头的地址,如档案所述",
    "no login in the address: it has keys of its own, 'username' and 'password'": (
        "地址中不含登录信息:它有自己的键 username 和 password"
    ),
    "a camera takes no order": "摄像机不接受指令",
    "RTP takes a baseline JPEG in colour, 4:2:0 or 4:2:2, its sides multiples of 8 up to 2040": (
        "RTP 需要彩色基线 JPEG,4:2:0 或 4:2:2,边长为 8 的倍数且不超过 2040"
    ),
    "the code is larger than the picture: {} pixels; use a smaller 'module'": "二维码大于画面:{} 像素;请减小 module",
    "a camera needs pillow: './lintel simulate' installs it": "摄像机需要 pillow:./lintel simulate 会安装它",
    "exactly one device on a serial line, not {}": "一条串口线路上正好一台设备,而不是 {} 台",
    "{} may be read by others; run: chmod 600 {}": "{} 可被其他用户读取;请运行:chmod 600 {}",
    "the password that the configuration names is in no systemd credential and not in {}": (
        "配置中写名的口令既不是 systemd 凭证,也不在 {} 中"
    ),
    # firmware profiles
    "the name of a profile: {}": "档案名称:{}",
    "{}, the name of the file": "{},即文件名",
    "at least one sample with direction 'in'": "至少一个 direction 为 in 的样例",
    "a sample with direction 'out', since there are commands": "一个 direction 为 out 的样例,因为有指令",
    "one with direction 'in' of the message {}": "一个 direction 为 in、属于消息 {} 的样例",
    "one with direction 'out' and order = { command = {} }": "一个 direction 为 out、order 的 command 为 {} 的样例",
    "the profile makes {} of this order": "档案由此指令得出 {}",
    "{}, but the profile understands {}": "{},但档案理解为 {}",
    "data: a profile holds no {}": "数据:档案中不能有 {}",
    "literal text, no template or expression": "普通文本,不能是模板或表达式",
    "a string, number or truth value, no date": "文本、数字或真假值,不能是日期",
    "no such key with role {}": "role 为 {} 时没有这个键",
    "true: with this bias and polarity a cut wire looks like rest": "true:在此偏置和极性下,断线看起来与静止相同",
    "false: with this bias and polarity a cut wire is seen": "false:在此偏置和极性下,断线可以被发现",
    "'seconds' from {} to {} in the order": "指令中有 seconds,{} 至 {}",
    "'command' to be one of {}": "command 为以下之一:{}",
    "{} in the order": "指令中有 {}",
    "{ command = one of {} }": "command 为以下之一:{}",
    "a literal MQTT topic; only '{device}' and '{gateway}' are replaced, '+' and '#' are refused": (
        "普通的 MQTT 主题;只替换 {device} 和 {gateway},不接受 + 和 #"
    ),
    "exactly one of 'hex', 'text' and 'payload'": "hex、text、payload 三者之一",
    "'topic' and 'payload' together": "topic 和 payload 同时出现",
    "'means' (and no 'order') in a sample with direction 'in'": "direction 为 in 的样例有 means 而没有 order",
    "'order' (and no 'means') in a sample with direction 'out'": "direction 为 out 的样例有 order 而没有 means",
    "a name of up to 64 characters a-z, 0-9, '-' and '_', starting with a letter or digit": (
        "最多 64 个字符 a-z、0-9、- 和 _ 组成的名称,以字母或数字开头"
    ),
    "a JSON pointer (RFC 6901) such as '/info/pic', or '' for the whole document": (
        "JSON 指针(RFC 6901),如 /info/pic;空文本表示整个文档"
    ),
    "a JSON pointer where '~' is written '~0' and '/' in a key '~1' (RFC 6901)": (
        "JSON 指针,其中 ~ 写作 ~0,键中的 / 写作 ~1(RFC 6901)"
    ),
    "bytes as hex text, for example '16 54 0D'": "十六进制字节,如 '16 54 0D'",
    "the name of a command, since rearm_every_s is set": "一个指令的名称,因为设置了 rearm_every_s",
    "this table: a binary frame needs it to find the text": "有这个表:二进制帧靠它找到文本",
    "expected no such table unless framing.kind is 'length'": "只有 framing.kind 为 length 时才有这个表",
    "the name of a command: {}": "一个指令的名称:{}",
    "a pointer to the device's id: a topic does not name the device": "指向设备编号的指针:有的主题不含设备",
    "a command without the fields of orders: channel, seconds, text": "不含开门指令字段(channel、seconds、text)的指令",
    "pointers to what was presented": "指向所出示内容的指针",
    "with kind 'door', and only there": "与 kind = door 一起出现,且仅在那里",
    "only with kind 'online', 'offline' or 'door'": "只与 kind 为 online、offline 或 door 一起出现",
    "no 'literal' and no 'field' beside it": "旁边没有 literal 和 field",
    "together with 'time'": "与 time 一起出现",
    "two pointers with 'sec_usec', else one": "sec_usec 为两个指针,其他为一个",
    "together with a field 'reply_to'": "与字段 reply_to 一起出现",
    "an 'order_id': the answer is correlated by it": "有 order_id:靠它对应回答",
    "what a good answer looks like": "成功的回答是什么样",
    "a name not used before, and not 'ack' or 'nak'": "未用过的名称,且不是 ack 或 nak",
    "the name of one of its commands ({})": "它的一个指令的名称({})",
    "each name once, {} is twice": "每个名称一次,{} 出现两次",
    "values that do not lie inside each other: {} and {}": "互不包含的值:{} 和 {}",
    # allowlist files
    "1 to 128 letters, digits and - _ . : (a visitor pass: base45)": (
        "1 至 128 个字母、数字和 - _ . :(访客通行码为 base45)"
    ),
    "{} to {} printable characters": "{} 至 {} 个可打印字符",
    "a whole number, {} or more": "整数,不小于 {}",
    "yes or no": "yes 或 no",
    "door groups with spaces between them": "以空格分隔的门组",
    "{} hex digits": "{} 个十六进制字符",
    "a time after valid_from": "晚于 valid_from 的时间",
    "a number, found {}": "数字,而不是 {}",
    "names of 1 to {} printable characters": "1 至 {} 个可打印字符的名称",
    "a time such as 2026-10-01T08:00:00+08:00, or a date": "时间如 2026-10-01T08:00:00+08:00,或日期",
    "each key once in an object": "对象中每个键只出现一次",
    "a header of {}; person, method and value are needed": "表头 {};必须有 person、method 和 value",
    "{} fields, found {}": "{} 个字段,而不是 {} 个",
    "an object with {}": "含 {} 的对象",
    "a number from 0 to 4294967295": "0 至 4294967295 的数字",
    "a valid document: {}": "正确的内容:{}",
    "either a value or a digest": "value 或 digest 二者之一",
    "a time with an offset: a date alone needs the site's --timezone": "带时差的时间:只写日期时需要小区的 --timezone",
    "each credential once; the same stands at {}": "每个凭证一次;相同的在 {}",
    "--replace and a file with credentials": "--replace 和一个含凭证的文件",
    'holiday_set {}: expected {"dates": ["2026-10-01", ...]}': 'holiday_set {}:应写作 {"dates": ["2026-10-01", ...]}',
    "holiday_set {}: expected dates such as 2026-10-01": "holiday_set {}:应为日期,如 2026-10-01",
    'block {}: expected {"until": Unix seconds or null}': 'block {}:应写作 {"until": Unix 秒或 null}',
    "{} is no document": "{} 不是已知的内容",
    "{} is no time of day; expected 00:00 to 24:00": "{} 不是时刻;应为 00:00 至 24:00",
    'a list of at most {} ranges such as ["08:00-18:00"]': '最多 {} 个时段的列表,如 ["08:00-18:00"]',
    'a range such as "08:00-18:00"': '时段,如 "08:00-18:00"',
    "{} is empty; the whole day is 00:00-24:00": "{} 是空的;全天写作 00:00-24:00",
    "{} is given twice": "{} 出现两次",
    "{} is no day; days are {} and holiday": "{} 不是日子;可用 {} 和 holiday",
    "unknown time zone {}": "已知的时区,不是 {}",
    "checkpoint ({}, {}) is older than the stored one": "检查点({},{})比已存的更旧",
    "too late: the writer was busy, no use was taken": "太迟:写入繁忙,没有占用次数",
    # the state of a gateway
    "no gateway is running on {}; start it with: lintel run --config FILE": (
        "{} 上没有正在运行的网关;用以下命令启动:lintel run --config FILE"
    ),
    "the gateway on {} does not answer: {}": "{} 上的网关没有回答:{}",
    "there is no store in {} (no {}); is --state right?": "{} 中没有数据(缺少 {});--state 是否正确?",
    "{} has schema {}": "{} 的结构版本为 {}",
    "another Lintel process is using {}": "另一个 Lintel 进程正在使用 {}",
    "{} is no key: expected 32 bytes, or 64 hex digits": "{} 不是密钥:应为 32 字节或 64 个十六进制字符",
    "{} is missing, and the database can not be read without it": "缺少 {},没有它无法读取数据库",
    "{} can not be read: {}": "{} 无法读取:{}",
    "can not write {}: {}": "无法写入 {}:{}",
    "the database key is 32 bytes": "数据库密钥为 32 字节",
    "{} was written by a newer Lintel (schema {}, this one knows {})": (
        "{} 由更新的 Lintel 写入(结构版本 {},本版本认识 {})"
    ),
    "{} has an older schema and the disk is read-only": "{} 的结构较旧,而磁盘只读",
    "{} has an older schema and the disk can not be written": "{} 的结构较旧,而磁盘无法写入",
    "{}: damaged, or this is not its key": "{}:已损坏,或密钥不符",
    "{}: its log can not be replayed: {}": "{}:其日志无法重放:{}",
    "{} does not exist and can not be made: the disk is read-only": "{} 不存在,且无法创建:磁盘只读",
    "{} is no regular file": "{} 不是普通文件",
    "{} is no Lintel database (size or header wrong)": "{} 不是 Lintel 数据库(大小或文件头错误)",
    "SQLite {} can lose commits when its log is reset; 3.51.3 or later is needed": (
        "SQLite {} 在重置日志时可能丢失提交;需要 3.51.3 或更新"
    ),
    "the database refused WAL with synchronous=FULL (answered {}, {})": (
        "数据库不接受 WAL 与 synchronous=FULL(回答 {}、{})"
    ),
    "neither {} nor its anchors open with this key; is it the right one?": "{} 及其锚点都无法用此密钥打开;密钥正确吗?",
    "the store can not be read: {}": "无法读取数据:{}",
    "the allowlist can not be read: {}": "无法读取名单:{}",
    # the broker and the demo
    "mosquitto is not installed: 'sudo apt install mosquitto', or use an existing broker": (
        "未安装 mosquitto:请运行 sudo apt install mosquitto,或使用已有的代理"
    ),
    "mosquitto did not start on port {}: is the port taken, are its files readable?": (
        "mosquitto 未能在端口 {} 上启动:端口是否被占用,文件是否可读?"
    ),
    "port {} is not free: {}": "端口 {} 已被占用:{}",
    "a broker that others can reach needs TLS and accounts": "他人可访问的代理需要 TLS 和账号",
    "a name or topic of printable characters, without colon and surrounding spaces": (
        "由可打印字符组成的名称或主题,不含冒号,首尾无空格"
    ),
    "the gateway ended: {}": "网关已退出:{}",
    "the gateway is not up after {} s": "网关在 {} 秒内没有就绪",
    # simulators
    "unknown kind {}; known: {}": "未知的种类 {};已知:{}",
    "unknown option {}; known: {}": "未知的选项 {};已知:{}",
    "unknown fault {}; known: {}": "未知的故障 {};已知:{}",
    "{} is one of {}": "{} 为以下之一:{}",
    "{} is true or false": "{} 为 true 或 false",
    "{} is of type {}": "{} 的类型为 {}",
    "{} takes its arguments as JSON": "{} 的参数应写成 JSON",
    "a {} does not know {}; it knows {}": "{} 不认识 {};它认识 {}",
    "the fleet is not JSON: {}": "设备清单不是 JSON:{}",
    'a fleet is a list of parts, or {"defaults": {...}, "parts": [...]}': (
        '设备清单是部件的列表,或 {"defaults": {...}, "parts": [...]}'
    ),
    "a Bluetooth lock needs a controller: --transport hci-socket:0 (or usb:0, ...)": (
        "蓝牙锁需要一个控制器:--transport hci-socket:0(或 usb:0 等)"
    ),
    "which part? id is one of {}": "哪个部件?id 为以下之一:{}",
    "two parts are called {}": "两个部件同名:{}",
    "already plugged in": "已经插入",
    "the line {} runs at {} baud": "总线 {} 的波特率为 {}",
    "keys are 0 to 9, * and #": "按键为 0 到 9、* 和 #",
    "address is 0 to 126": "address 为 0 到 126",
    "key is 32 hex digits": "key 为 32 位十六进制数字",
    "the reader is off": "读头已断电",
    "a card has 1 to 512 bits, and data for all of them": "卡有 1 到 512 位,且须给出全部数据",
    "a lie is one of {}": "lie 为以下之一:{}",
    "{} exists and is no link": "{} 已存在,且不是链接",
    "broker is host:port": "broker 写作 主机:端口",
    "persons file {}: {}": "人员文件 {}:{}",
    "give one of text, picture (a file), png_base64": "请给出 text、picture(文件)、png_base64 之一",
    "reading pictures needs zxing-cpp and pillow: './lintel simulate' installs them": (
        "读取图片需要 zxing-cpp 和 pillow:运行 ./lintel simulate 会自动安装"
    ),
    "not a picture: {}": "不是图片:{}",
    "this dialect has no QR message": "此方言没有二维码消息",
    "the Dean variant has no QR message": "Dean 变体没有二维码消息",
    "no qr_url: this terminal has nobody to ask": "没有 qr_url:此终端无处查询",
}
