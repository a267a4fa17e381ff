"""Profiles of OSDP readers: mistakes that the schema of single keys does not see."""

from importlib.resources import files

from tests.edge.test_gpio_profiles import mistakes


def test_an_input_is_wired_to_one_thing(tmp_path):
    """Of two tables with one number the first would never be looked at: a fire input that does nothing."""
    text = (files("lintel") / "firmware_profiles" / "osdp-generic-relay.toml").read_text()
    text = text.replace('name = "osdp-generic-relay"', 'name = "own"')
    assert mistakes(tmp_path, text) == {}
    wired = text.replace("[[sample]]", '[[osdp.input]]\nnumber = 0\nkind = "fire"\n\n[[sample]]', 1)
    assert set(mistakes(tmp_path, wired)) == {"osdp.input[2].number"}
    odd = text.replace("number = 0", "number = [0]", 1)
    assert [where for where in mistakes(tmp_path, odd) if where.startswith("osdp.input[0].number")]
