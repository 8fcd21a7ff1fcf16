"""Say in Vietnamese what a notice is about and what to do, for the template noti_pancake_needs_attention.

A text names sources, connections, tickets and the lead's phone, which the notice holds already. It never has
a customer's name, address or e-mail.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from leads.domain.visible_text import without_unseen

MAX_TITLE_CHARACTERS = 80
"""What an in-app notification and the subject of a mail show of a title."""
MAX_TEXT_CHARACTERS = 1000
MAX_DETAIL_CHARACTERS, MAX_VALUE_CHARACTERS = 250, 60
"""The detail and the other values are cut here, so that what to do, which comes last, is never cut off."""
CUT = "…"
UNKNOWN_VALUE = "(không rõ)"
SETTINGS = "Cài đặt → Pancake"


@dataclass(frozen=True, slots=True)
class NoticeText:
    """The text of one reason; `{…}` are keys of the notice's data."""

    title: str
    happened: str
    to_do: str

    def sentences(self) -> str:
        return f"{self.happened} {self.to_do}"


TEXTS: Mapping[str, NoticeText] = {
    "unassigned": NoticeText(
        "Ticket chưa có người phụ trách",
        "Lead có số {detail} đã có ticket nhưng không thành viên nào của danh sách phân chia nhận được.",
        f"Thêm thành viên ở {SETTINGS} hoặc cho nhân viên vào ca: ticket được giao trong vài phút. "
        "Xem lý do: leads trace {detail}",
    ),
    "phone_changed": NoticeText(
        "Lead đổi số điện thoại",
        "Lead nay có số {detail} trong Pancake, nên khách hàng hoặc ticket của lead có thể đã khác.",
        "Mở ticket, kiểm tra khách hàng và gộp nếu trùng. Xem diễn biến: leads trace {detail}",
    ),
    "record_deleted": NoticeText(
        "Lead đã bị xóa trong Pancake",
        "Lead có số {detail} đã bị xóa trong Pancake; ticket và khách hàng trong CRM vẫn giữ nguyên.",
        "Mở ticket, hỏi người xóa trong Pancake, rồi đóng ticket nếu không cần nữa.",
    ),
    "future_time": NoticeText(
        "Lead có thời gian ở tương lai",
        "Lead có số {detail} mang thời gian sửa đổi muộn hơn hiện tại, nên bản sau có thể bị coi là cũ.",
        "Kiểm tra múi giờ của kết nối: leads connection status; đặt lại: leads connection set-time-zone. "
        "Xem diễn biến: leads trace {detail}",
    ),
    "ticket_recalled": NoticeText(
        "Ticket đã được chuyển cho người khác",
        "Ticket của lead có số {detail} chưa được phản hồi đúng hạn nên đã chuyển cho thành viên khác.",
        "Không cần làm gì thêm với ticket này; hãy xem các ticket còn lại đang chờ phản hồi.",
    ),
    "sla_missed": NoticeText(
        "Ticket quá hạn phản hồi đầu tiên",
        "Ticket {detail} chưa có phản hồi đầu tiên trong thời hạn SLA.",
        "Mở ticket, nhắc người phụ trách hoặc giao cho người khác. Xem diễn biến: leads trace {detail}",
    ),
    "connection_active": NoticeText(
        "Kết nối Pancake hoạt động lại",
        "Kết nối {connection} hoạt động bình thường ({detail}).",
        "Không cần làm gì. Kiểm tra lead còn thiếu: leads status",
    ),
    "connection_silent": NoticeText(
        "Webhook của Pancake không gửi lead",
        "Webhook của kết nối {connection} bỏ sót lead, hệ thống phải tự đọc từ Pancake ({detail}).",
        "Mở Pancake → Settings → Tools → Webhook, xem webhook có đang bật không. Kiểm tra: leads status",
    ),
    "connection_suspended": NoticeText(
        "Pancake đã ngưng webhook",
        "Pancake có vẻ đã ngưng webhook của kết nối {connection} ({detail}); lead đến chậm vài phút.",
        "Mở Pancake → Settings → Tools → Webhook và bật lại. Sau đó: leads connection status",
    ),
    "connection_outage": NoticeText(
        "Pancake không phản hồi",
        "Kết nối {connection} không nhận được webhook và API của Pancake không trả lời ({detail}).",
        "Chờ Pancake hoạt động lại, lead sẽ được đọc bù. Thử kết nối: leads connection test",
    ),
    "connection_key_invalid": NoticeText(
        "API key của Pancake bị từ chối",
        "API key của kết nối {connection} không dùng được ({detail}), nên không đọc bù được lead.",
        "Tạo key ở Pancake → Settings → Tools, nhập bằng leads connection set-api-key, rồi chạy "
        "leads connection test",
    ),
    "connection_disabled": NoticeText(
        "Kết nối Pancake đã bị tắt",
        "Kết nối {connection} đã bị tắt ({detail}); lead mới được giữ lại và không thành ticket.",
        "Xem ai đã tắt: leads history --of connection. Bật lại: leads connection enable",
    ),
    "new_source": NoticeText(
        "Có nguồn lead mới từ Pancake",
        "Kết nối {connection} có {count} nguồn mới: {detail}. Khi nguồn còn tắt, lead không thành ticket.",
        f"Bật nguồn và chọn danh sách phân chia ở {SETTINGS}, hoặc: leads switch source",
    ),
    "filter_suspect": NoticeText(
        "Danh sách lead của Pancake thiếu bản ghi",
        "Danh sách đọc từ Pancake thiếu lead mà webhook đã gửi ({detail}).",
        "Kiểm tra múi giờ của kết nối: leads connection status; đặt lại: leads connection set-time-zone",
    ),
    "filter_ignored": NoticeText(
        "Pancake trả về lead ngoài khoảng thời gian",
        "Pancake bỏ qua bộ lọc thời gian và trả về lead ngoài khoảng đã hỏi ({detail}).",
        "Kiểm tra múi giờ của kết nối: leads connection status. Nếu đúng, báo cho Pancake.",
    ),
    "reconciliation_miss": NoticeText(
        "Đối soát tìm thấy lead bị bỏ sót",
        "Kết nối {connection}, ngày {day}: {found} lead bị bỏ sót và đã được bổ sung, {left} lead chưa lưu "
        "được.",
        "Xem webhook có hoạt động không: leads status. Xem từng lead: leads reconcile --day {day} --dry-run",
    ),
    "settings_unreadable": NoticeText(
        "Cài đặt tích hợp Pancake không hợp lệ",
        "Một số cài đặt không đọc được nên giá trị an toàn được dùng thay: {detail}.",
        f"Lưu lại các cài đặt này ở {SETTINGS}. Xem ai đã sửa: leads history --of setting",
    ),
    "notifications_given_up": NoticeText(
        "Thông báo không gửi được",
        "Dịch vụ thông báo không nhận: {events} lead và {runs} lượt chạy cron có thông báo bị bỏ.",
        "Ticket vẫn đầy đủ; hãy tự báo cho người phụ trách. Tìm nguyên nhân: leads status, rồi làm theo "
        "docs/runbook/notifications.md",
    ),
    "cron_ticks_lost": NoticeText(
        "Cron của Hasura bị lỡ",
        "Hasura không gọi được các cron sau (số lần): {detail}.",
        "Kiểm tra Hasura và dịch vụ xử lý: leads status. Chạy bù: leads cron run NAME",
    ),
}
"""The text of each reason that a notice can have."""


class _Values(dict[str, str]):
    """The data of a notice. A value that a notice lacks must not keep it from being sent."""

    def __missing__(self, key: str) -> str:
        return UNKNOWN_VALUE


def with_text(data: Mapping[str, object]) -> dict[str, object]:
    """Return the data of a notice with `title` and `text`; an unknown reason gets general words."""
    values = _Values({key: _shown(key, value) for key, value in data.items()})
    known = TEXTS.get(str(data.get("reason")))
    title = known.title if known else "Tích hợp Pancake cần chú ý"
    text = (known.sentences() if known else "{reason}: {detail}").format_map(values)
    return {**data, "title": title, "text": text}


def _shown(key: str, value: object) -> str:
    text = without_unseen(str(value)) or UNKNOWN_VALUE
    limit = MAX_DETAIL_CHARACTERS if key == "detail" else MAX_VALUE_CHARACTERS
    return text if len(text) <= limit else text[: limit - 1] + CUT
