"""The one shape of every result: a finding has tables, drawings and sentences, each about one sweep or about none.

A module of `nosign.findings` fills it; `nosign.output` writes and shows it, and knows no result.
"""

from dataclasses import dataclass, field

from matplotlib.figure import Figure

from nosign.output.table import SweepName, Table


@dataclass(frozen=True)
class Drawing:
    """A figure and what is said of it.

    Attributes:
        name: file name without ending, such as "figure4-budget".
        title: as in "Figure 4".
        caption: plain text, one or two sentences.
        alt: what the figure shows, for readers who cannot see it.
        figure: matplotlib figure.
        sweep: what it is about; None where it is about no single sweep.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure
    sweep: SweepName | None = None


@dataclass(frozen=True)
class Sentence:
    """One statement that the numbers allow.

    Attributes:
        text: plain text that ends in a full stop.
        sweep: what it is about; None where it is about no single sweep.
        answer: whether it belongs to the short answer that opens the report.
    """

    text: str
    sweep: SweepName | None = None
    answer: bool = False


@dataclass(frozen=True)
class Finding:
    """One result.

    Attributes:
        name: the module's name, such as "transfer".
        heading: what it is about, in a few words, as a heading of the report.
        tables: tuple of `Table`.
        drawings: tuple of `Drawing`.
        sentences: tuple of `Sentence`.
    """

    name: str
    heading: str
    tables: tuple[Table, ...] = field(default=())
    drawings: tuple[Drawing, ...] = field(default=())
    sentences: tuple[Sentence, ...] = field(default=())

    def __bool__(self) -> bool:
        """Whether the run gave this result anything to say."""
        return bool(self.tables or self.drawings or self.sentences)


def parts_of(finding: Finding) -> tuple[Table | Drawing | Sentence, ...]:
    """Return all tables, drawings and sentences of a finding."""
    return (*finding.tables, *finding.drawings, *finding.sentences)
