"""`leads alert`: whether alerts reach their receivers."""
