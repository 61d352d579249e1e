"""Savings of converters that others published for related mechanisms, beside ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import pandas as pd
import yaml

from artifact.paths import EXPECTED
from artifact.studies.common import PAIR
from artifact.studies.readings import MECHANISMS
from nvlib.checks import require, require_choice, require_number, settle_fields

CHECKED = ("abstract", "note")


@dataclass(frozen=True)
class PublishedSaving:
    """One row of ``expected/savings.yaml``.

    Attributes
    ----------
    work, mechanism : str
        Who, and what is done.
    like : str
        The most similar of `MECHANISMS`, with those before it.
    least, most : float
        Ends of what is stated, as a share of the baseline; equal where it is one number.
    of : str
        "ADC energy" or "ADC power".
    checked : str
        What the number was compared with: the "abstract", or no more than a "note".
    source : str

    Raises
    ------
    ValueError
        If a saving is no share, or a word is unknown or missing.
    """

    work: str
    mechanism: str
    like: str
    least: float
    most: float
    of: str
    checked: str
    source: str

    def __post_init__(self) -> None:
        settle_fields(self, "like", require_choice, [*MECHANISMS][1:])
        settle_fields(self, "of", require_choice, ("ADC energy", "ADC power"))
        settle_fields(self, "checked", require_choice, CHECKED)
        settle_fields(self, "most", require_number, 0, 1)
        settle_fields(self, "least", require_number, 0, self.most)
        for name in ("work", "mechanism", "source"):
            text = getattr(self, name)
            require(isinstance(text, str) and bool(text), name, "words", text, "say it")


def published() -> list[PublishedSaving]:
    """What ``expected/savings.yaml`` lists.

    Examples
    --------
    >>> [saving.work for saving in published()]
    ['ELEX 2025', 'Newton 2018', 'InfoX 2022']
    """
    text = (EXPECTED / "savings.yaml").read_text(encoding="utf-8")
    return [PublishedSaving(**row) for row in yaml.safe_load(text)]


def beside(steps: pd.DataFrame) -> pd.DataFrame:
    """Each published saving, and what the mechanism that is most like it saves here.

    Parameters
    ----------
    steps : DataFrame
        Of `artifact.studies.decomposition.steps`.

    Returns
    -------
    DataFrame
        Columns of `PublishedSaving`, and ours at both of `PAIR`, gross, against nothing.
    """
    ours = steps[steps["against"] == "nothing"].pivot(
        index="mechanism", columns="precision", values="saving"
    )[list(PAIR)]
    theirs = pd.DataFrame([asdict(saving) for saving in published()])
    return theirs.merge(ours, left_on="like", right_index=True, how="left", validate="m:1")
