<?php
// SPDX-License-Identifier: MIT
// PHP's own server: it serves files itself where this says false.
$path = parse_url($_SERVER["REQUEST_URI"], PHP_URL_PATH);
if ($path === "/echo") {
    echo file_get_contents("php://input");
} elseif ($path === "/stream") {
    for ($number = 0; $number < 3; $number++) {
        echo "part $number\n";
        flush();
    }
} else {
    return false;
}
