"""What the report says of a judgement in Vietnamese: the finding, and what stands beside the figure."""

from leads.domain.body import ICT
from ops.golive.criterion import SIGNS, WAVES, Criterion, Source
from ops.golive.gates import Period
from ops.golive.judgement import Judgement, Outcome, Why

UNITS = {"s": " giây", "ms": " ms", "min": " phút", "min p95": " phút", "MB": " MB", "KB": " KB",
         "days": " ngày", "of 5": "/5", "of 15": "/15"}  # fmt: skip
"""A count has no unit: the title of the criterion says of what."""
WHY = {
    Why.NO_DATA: "Chưa có số liệu hoặc chưa được xác nhận.",
    Why.TOO_FEW: "Chưa đủ số trường hợp để kết luận.",
    Why.SOURCE_DOWN: "Không lấy được số liệu: hệ thống không trả lời.",
    Why.STALE: "Bằng chứng quá cũ, hoặc không thuộc bản đang chạy.",
}
OF_CHECKS = {Outcome.PASS: "Kiểm tra tự động: đạt.", Outcome.FAIL: "Kiểm tra tự động: chưa đạt."}


def number(criterion: Criterion, value: float) -> str:
    """Return a value as it is written in Vietnam, with a comma before the decimals."""
    if criterion.unit == "share":
        return f"{value * 100:.4g}".replace(".", ",") + " %"
    text = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"
    return text.translate(str.maketrans(",.", ".,")) + UNITS.get(criterion.unit, "")


def finding(judgement: Judgement) -> str:
    """Return what was found, and the target."""
    criterion, measured = judgement.criterion, judgement.measurement
    if criterion.source is Source.CHECK and judgement.why is None:
        return OF_CHECKS.get(judgement.outcome, OF_CHECKS[Outcome.FAIL])
    target = "" if criterion.source is Source.CHECK else (
        f"Mục tiêu {SIGNS.get(criterion.operator, criterion.operator)} {number(criterion, criterion.target)}."
    )  # fmt: skip
    if judgement.why is Why.TOO_FEW:
        needed = max(criterion.min_samples or 0, measured.needed)
        return f"Mới có {measured.total or 0} trường hợp, cần ít nhất {needed}. {target}"
    if judgement.why is not None or measured.value is None:
        return f"{WHY[judgement.why or Why.NO_DATA]} {target}".strip()
    if criterion.source is Source.PERSON and criterion.target == 1:
        return "Đã xác nhận." if judgement.outcome is Outcome.PASS else f"Chưa đạt. {target}"
    cases = f" (trên {measured.total} trường hợp)" if measured.total is not None else ""
    return f"Kết quả {number(criterion, measured.value)}{cases}. {target}"


def note(judgement: Judgement) -> str:
    """Return what a reader has to know beside the figure; empty if there is nothing."""
    if judgement.is_shown is False:
        return f"Đạt, nhưng có thể do may: cần {judgement.needed} trường hợp nếu không có thêm lỗi nào."
    return ""


def window(period: Period) -> str:
    """Return from when to when a wave is judged, and since when that is stated."""
    since, until, stated = (
        f"{at.astimezone(ICT):%H:%M %d/%m/%Y}" for at in (period.since, period.until, period.stated_at)
    )
    name = f"Đợt {period.wave}" if period.wave in WAVES else "Toàn pilot"
    return f"{name}: từ {since} đến {until}; {period.by} ghi nhận lúc {stated}."
