"""Why a run of a cron is not done yet."""

from leads.domain.errors import Retryable, Unavailable


class RunUnfinished(Unavailable):
    """The run used up its time; it continues when this tick is delivered again."""

    code = "run_unfinished"
    retry_after_seconds = 1


class RunUnderWay(Unavailable):
    """This tick is being worked on by another delivery."""

    code = "run_under_way"
    retry_after_seconds = 5


class RunStuck(Retryable):
    """One step of the run takes longer than a call of a cron may."""

    code = "run_stuck"


class RunFailed(Retryable):
    """The run did not complete all of its work; its report says what is missing."""

    code = "run_failed"
