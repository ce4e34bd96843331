import pytest

from common.error import ConfigError
from common.run_directory import RunDirectory


def test_a_finished_run_keeps_its_configuration_without_its_metrics(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.claim({"a": 1})
        assert not run.finished
        (tmp_path / "record.json").write_text("{}")
        assert run.finished
        with pytest.raises(ConfigError, match="a: 1 → 2"):
            run.claim({"a": 2})
