"""An independent answer to "may this person pass", for tests only: one flat table of rules, no code of the product.

It takes plain dictionaries and evaluates every rule, then picks the first word in the written order.
"""

from datetime import UTC, datetime, timedelta

ORDER = [
    "fire_release",
    "bad_format", "device_untrusted", "rate_limited", "stale_reading", "bad_signature", "untrusted_key", "replayed",
    "storage_fault", "unknown_credential", "blocked", "revoked", "suspended", "wrong_scope", "no_grant", "lockdown",
    "method_disabled", "clock_untrusted", "not_yet_valid", "expired", "outside_schedule", "allowlist_too_old",
    "consent_withdrawn", "consent_missing", "liveness_failed", "low_score", "already_used", "storage_read_only",
]  # fmt: skip


def open_at(schedule, wall, holidays):
    """UTC sites only: minute by minute membership, the day before counted for ranges over midnight."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=wall)
    for back in (0, 1):
        day = (moment - timedelta(days=back)).date()
        ranges = schedule["holiday"] if day in holidays else schedule["week"][day.weekday()]
        minute = moment.hour * 60 + moment.minute + 1440 * back
        if any(start <= minute < end for start, end in ranges):
            return True
    return False


def answer(case):
    c, d, r = case["credential"], case["door"], case["reading"]
    true = {"fire_release"} if case["fire"] else set()
    if r["fault"]:
        true.add(r["fault"])
    if case["verdict"]:
        true.add(case["verdict"])
    if case["rate_limited"]:
        true.add("rate_limited")
    if r["age"] > d["max_age"]:
        true.add("stale_reading")
    if case["storage_fault"]:
        true.add("storage_fault")
    if c is None:
        true.add(case["verdict"] or "unknown_credential")  # a genuine pass of elsewhere is not unknown
    else:
        if case["blocked"] and r["direction"] == "in":
            true.add("blocked")
        if c["status"] != "active":
            true.add(c["status"])
        if not set(c["groups"]) & set(d["groups"]):
            true.add("wrong_scope" if c["method"] == "pass" else "no_grant")
        if case["lockdown"] and r["direction"] == "in":
            true.add("lockdown")
        if c["method"] not in d["methods"]:
            true.add("method_disabled")
        state, wall = case["clock"], case["wall"]
        if state == "unknown":
            timed = c["from"] is not None or c["to"] is not None
            if c["method"] == "pass" or (c["kind"] == "visitor" and timed):
                true.add("clock_untrusted")
            if c["from"] is not None and wall < c["from"]:
                true.add("clock_untrusted")
            if c["schedule"] and not case["schedule_without_clock"]:
                true.add("clock_untrusted")
        early = 120 if state == "holdover" else 0
        if c["from"] is not None and wall < c["from"] - early:
            true.add("not_yet_valid")
        if c["to"] is not None and not wall < c["to"]:
            true.add("expired")
        if c["schedule"] and state != "unknown":
            known = case["schedule"]
            if known is None or not open_at(known, wall, case["holidays"]):
                true.add("outside_schedule")
        if d["max_list_age"] is not None and (case["list_age"] is None or case["list_age"] > d["max_list_age"]):
            true.add("allowlist_too_old")
        if "face" in (r["method"], c["method"]) and c["consent"] != "granted":
            true.add("consent_withdrawn" if c["consent"] == "withdrawn" else "consent_missing")
        if r["method"] == "face":
            if d["min_liveness"] is not None and (r["liveness"] or 0) < d["min_liveness"]:
                true.add("liveness_failed")
            if (r["score"] or 0) < d["min_score"]:
                true.add("low_score")
        if c["limit"] is not None:
            if c["uses"] >= c["limit"]:
                true.add("already_used")
            if case["storage_read_only"]:
                true.add("storage_read_only")
    for word in ORDER:
        if word in true:
            return word
    assert not true, true
    return "granted"
